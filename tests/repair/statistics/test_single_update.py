"""``single_update``: with checkpointing everything is as it is without."""

from __future__ import annotations

import copy
import io
import pickle
import sys

import pytest
import torch
from repair.models import FusedNorm, Shared, same, state
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from bnguard._errors import RepairError
from bnguard.repair import allow_single_sample, freeze, single_update

KINDS = [True, False]


class Net(nn.Module):
    """A block that is run under checkpointing, or as it is."""

    def __init__(self, *, reentrant: bool | None, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = nn.Sequential(
            nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 8, 1),
            FusedNorm(8),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
        self.reentrant = reentrant

    def forward(self, x):
        x = self.stem(x)
        x = self.block(x) if self.reentrant is None else checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.head(x)


def trained(model: nn.Module, steps: int = 3) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Outputs and gradients of a few steps of training."""
    torch.manual_seed(5)
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    outputs, gradients = [], []
    for _ in range(steps):
        optimiser.zero_grad()
        y = model.train()(torch.randn(6, 3, 8, 8))
        y.square().mean().backward()
        outputs.append(y.detach())
        gradients += [p.grad.clone() for p in model.parameters()]
        optimiser.step()
    return outputs, gradients


def alike(reentrant: bool, momentum: float | None = 0.1) -> tuple[Net, Net]:
    """The same network without checkpointing and with it."""
    torch.manual_seed(0)
    plain = Net(reentrant=None, momentum=momentum)
    other = copy.deepcopy(plain)
    other.reentrant = reentrant
    return plain, other


@pytest.mark.parametrize("reentrant", KINDS)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_equal_to_the_network_without_checkpointing(reentrant, momentum):
    plain, model = alike(reentrant, momentum)
    twice = copy.deepcopy(model)
    done = single_update(model)
    assert (done.changed, done.verified, done.notes) == (("block.1", "block.5", "head.2"), True, ())
    assert str(done) == "single_update: 3 layers changed; verified under checkpointing"
    outputs, gradients = trained(plain)
    found, slopes = trained(model)
    assert all(map(torch.equal, outputs, found))
    assert all(map(torch.equal, gradients, slopes))
    assert same(state(plain), state(model))
    trained(twice)
    assert int(twice.block[1].num_batches_tracked) == 6  # what it mends
    assert int(model.block[1].num_batches_tracked) == 3


@pytest.mark.parametrize("reentrant", KINDS)
def test_undo_lets_them_move_twice_again(reentrant):
    _, model = alike(reentrant)
    done = single_update(model)
    assert "running statistics move once a step" in repr(model)
    assert isinstance(model.block[1], nn.BatchNorm2d)
    done.undo()
    done.undo()
    assert type(model.block[1]) is nn.BatchNorm2d
    trained(model, 1)
    assert int(model.block[1].num_batches_tracked) == 2


def test_the_buffers_stay_the_very_same():
    _, model = alike(reentrant=False)
    single_update(model)
    kept = [id(b) for b in model.buffers()]
    trained(model)
    assert [id(b) for b in model.buffers()] == kept


@pytest.mark.parametrize("reentrant", KINDS)
def test_segments_nested_checkpoints_and_accumulation(reentrant):
    torch.manual_seed(0)
    plain = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(4)))
    model = copy.deepcopy(plain)
    single_update(model)

    def nested(x):
        return checkpoint(lambda y: checkpoint(model, y, use_reentrant=reentrant), x, use_reentrant=reentrant)

    batches = torch.randn(4, 8, 4, requires_grad=True)
    for x in batches:
        plain(x).sum().backward()
    for i, x in enumerate(batches):  # two steps of two micro-batches, in two ways
        run = nested(x) if i % 2 else checkpoint_sequential(model, 2, x, use_reentrant=reentrant)
        run.sum().backward()
    assert same(state(plain), state(model))


def test_a_layer_that_is_called_twice_in_a_forward_moves_as_without():
    torch.manual_seed(0)
    plain = Shared()
    model = copy.deepcopy(plain)
    single_update(model)
    x = torch.randn(8, 4)
    plain(x).sum().backward()
    checkpoint(model, x, use_reentrant=False).sum().backward()
    assert same(state(plain), state(model))
    assert int(model.norm.num_batches_tracked) == 2


def test_an_error_in_the_repetition_leaves_the_buffers():
    class Fails(nn.BatchNorm1d):
        calls = 0

        def forward(self, x):
            y = super().forward(x)
            self.calls += 1
            if self.calls > 1:
                raise OSError("second time")
            return y

    norm = Fails(3)
    single_update(nn.Sequential(norm), verify=False)
    kept = norm.running_mean
    with pytest.raises(OSError, match="second time"):
        checkpoint(norm, torch.randn(4, 3, requires_grad=True), use_reentrant=True).sum().backward()
    assert norm.running_mean is kept
    assert int(norm.num_batches_tracked) == 1


def test_in_eval_mode_and_with_other_fixes():
    plain, model = alike(reentrant=False)
    single_update(model)
    assert torch.equal(plain.eval()(torch.ones(1, 3, 8, 8)), model.eval()(torch.ones(1, 3, 8, 8)))
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    fixes = [single_update(model), allow_single_sample(model, inputs=(4,))]
    checkpoint(model, torch.randn(1, 4, requires_grad=True), use_reentrant=False).sum().backward()
    assert int(model[1].num_batches_tracked) == 0
    checkpoint(model, torch.randn(2, 4, requires_grad=True), use_reentrant=False).sum().backward()
    assert int(model[1].num_batches_tracked) == 1
    fixes[0].undo()
    fixes[1].undo()
    assert type(model[1]) is nn.BatchNorm1d
    frozen = nn.Sequential(nn.BatchNorm1d(4))
    freeze(frozen, verify=False)
    assert single_update(frozen).changed == ("0",)


def test_nothing_is_left_by_the_proof():
    seen = []
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()
    model[1].register_forward_hook(lambda *_: seen.append(1))
    before, numbers = state(model), torch.get_rng_state()
    with torch.no_grad():
        assert single_update(model).verified
    assert same(state(model), before)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert not seen
    assert not model[1].training
    assert model[1].weight.grad is None
    sync = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm3d(3)))
    assert single_update(sync).verified


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_the_fixed_model_is_copied_and_stored(way):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    done = single_update(model)
    if way == "deepcopy":
        copied = copy.deepcopy(model)
    elif way == "pickle":
        copied = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    done.undo()
    for net, moves in ((copied, 1), (model, 2)):
        checkpoint(net, torch.randn(4, 4, requires_grad=True), use_reentrant=False).sum().backward()
        assert int(net[1].num_batches_tracked) == moves
    assert list(copied.state_dict()) == list(model.state_dict())


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a compiler there")
def test_torch_compile_takes_it_whole():
    plain, model = alike(reentrant=False)
    for net in (plain, model):
        net.block[3].p = net.block[5].drop.p = 0.0
    single_update(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(6, 3, 8, 8)
    for net in (plain, compiled):
        net(x).sum().backward()
    assert "compile both or neither" in single_update(torch.compile(nn.Sequential(nn.BatchNorm1d(2)))).notes[0]
    for name, tensor in state(plain).items():
        torch.testing.assert_close(state(model)[name], tensor)


def test_what_cannot_be_done_is_said_and_nothing_is_changed():
    for model, words in (
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), "changed nothing: 0 keeps no running statistics"),
        (nn.Sequential(nn.LazyBatchNorm1d()), "has no shape yet"),
    ):
        with pytest.raises(RepairError, match=words):
            single_update(model)
    with pytest.warns(UserWarning, match="has no BatchNorm layer") as caught:
        assert not single_update(nn.Linear(2, 2)).changed
    assert caught[0].filename == __file__
    again = nn.Sequential(nn.BatchNorm1d(4))
    single_update(again)
    assert single_update(again).skipped == {"0": "has this fix already"}


def test_a_layer_that_still_moves_twice_is_refused():
    class Behind(nn.BatchNorm1d):
        """Writes to its mean by another name."""

        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.__dict__["other"] = self.running_mean

        def forward(self, x):
            self.__dict__["other"].add_(1)
            return super().forward(x)

    norm = Behind(3)
    with pytest.raises(RepairError, match=r"0 [(]Behind[)] still move twice under checkpointing"):
        single_update(nn.Sequential(norm))
    assert type(norm) is Behind


def test_a_layer_that_takes_no_plain_tensor_is_not_verified():
    class Pairs(nn.BatchNorm1d):
        def forward(self, pair):
            return super().forward(pair.x)

    done = single_update(nn.Sequential(Pairs(3)))
    assert done.changed == ("0",)
    assert done.verified is None
    assert done.notes[0].startswith("not verified: a copy of 0 gave")
