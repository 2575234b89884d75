"""``recalibrate``: each layer keeps the statistics of what it is given in eval mode, and nothing else has changed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from repair.models import Shared, classifier, fused, same, state
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

from bnguard._errors import RepairError, TargetError, UsageError
from bnguard.repair import freeze, recalibrate

IMAGES = torch.randn(13, 3, 8, 8, generator=torch.Generator().manual_seed(7)) * 3 + 2


def loader(size: int, **options: object) -> DataLoader:
    return DataLoader(TensorDataset(IMAGES, torch.arange(13)), batch_size=size, **options)


def given(model: nn.Module, run: Callable[[], object]) -> dict[nn.Module, list[torch.Tensor]]:
    """What each BatchNorm layer is given in eval mode, by hooks of torch's."""
    seen: dict[nn.Module, list[torch.Tensor]] = {}
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    handles = [m.register_forward_pre_hook(lambda m, args: seen.setdefault(m, []).append(args[0])) for m in norms]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


def assert_true_of(model: nn.Module, x: torch.Tensor, rtol: float = 1e-3) -> None:
    """The statistics are those of the inputs that a forward in eval mode brings, as ``torch.var`` has them."""
    model.eval()
    for norm, inputs in given(model, lambda: model(x)).items():
        values = torch.cat([i.transpose(0, 1).flatten(1) for i in inputs], 1)
        torch.testing.assert_close(norm.running_mean, values.mean(1), rtol=rtol, atol=rtol / 10)
        torch.testing.assert_close(norm.running_var, values.var(1), rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4, 13])
def test_the_size_of_the_batches_does_not_matter(size):
    torch.manual_seed(0)
    model = classifier()
    done = recalibrate(model, loader(size, shuffle=size == 2))
    assert (done.changed, done.verified, done.batches) == (("1", "4"), True, -(-13 // size))
    assert int(model[4].num_batches_tracked) == done.batches
    assert list(done.moved) == ["1", "4"]
    assert done.moved["4"].values == 13
    assert_true_of(model, IMAGES)


def test_the_first_layer_has_what_one_training_forward_of_all_data_would_give_it():
    norm = nn.BatchNorm2d(3, momentum=1.0)
    wanted = copy.deepcopy(norm)
    wanted(IMAGES)
    recalibrate(nn.Sequential(norm), loader(4))
    torch.testing.assert_close(norm.running_mean, wanted.running_mean)
    torch.testing.assert_close(norm.running_var, wanted.running_var)


def test_update_bn_is_off_where_this_is_not():
    """A tail of one weighs as much as a full batch there, and the spread between batches is missing."""
    ours, theirs = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.BatchNorm2d(3))
    apart = [IMAGES[:6], IMAGES[6:12] + 10, IMAGES[12:] + 50]
    update_bn(apart, theirs)
    recalibrate(ours, apart)
    truth = torch.cat(apart).transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(ours[0].running_var, truth)
    assert (theirs[0].running_var < truth / 2).all()


def test_how_far_they_moved_is_told():
    model = nn.Sequential(nn.BatchNorm1d(2))
    done = recalibrate(model, [torch.tensor([[10.0, 0.0], [14.0, 1.0]])])
    moved = done.moved["0"]
    assert moved.mean == pytest.approx(12 / 8**0.5, rel=1e-4)  # variance 8, from mean 0
    assert moved.std == pytest.approx((0.5**0.5, 8**0.5), rel=1e-4)
    assert str(done).splitlines() == [
        "recalibrate: 1 layer from 1 batch; each has what it is given in eval mode",
        "  0: mean moved by 4.2 std or less, std × 0.71 to 2.8",
        "  note: 0: 2 values per channel are few",
    ]


def test_nothing_else_moves():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen = self.seen + 1
            return x

    model = nn.Sequential(Counts(), *classifier(), nn.Dropout(0.5)).train()
    model[3].eval()
    model[1].weight.requires_grad_(False)
    model[1].weight.grad = torch.ones_like(model[1].weight)
    handle = model[2].register_forward_hook(lambda *_: None)
    generator = torch.Generator().manual_seed(3)
    shuffled = loader(4, shuffle=True, generator=generator)
    modes = [m.training for m in model.modules()]
    counted = model[0].seen
    before, drawn = state(model), generator.get_state()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    done = recalibrate(model, shuffled)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected
    after = state(model)
    assert {k for k in after if not torch.equal(after[k], before[k])} == {
        f"{i}.{name}" for i in (2, 5) for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(generator.get_state(), drawn)
    assert model[0].seen is counted
    assert (model[1].weight.requires_grad, bool((model[1].weight.grad == 1).all())) == (False, True)
    assert len(model[2]._forward_hooks) == 1
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()
    handle.remove()
    done.undo()
    assert same(state(model), before)


def test_a_copy_that_got_parameters_alone_is_mended():
    """After public reports: an average of the weights that evaluates with mean 0 and variance 1."""
    torch.manual_seed(0)
    x = torch.randn(256, 10) * 20 + 50
    y = (x[:, 0] > 50).long()
    model = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 2))
    ema = copy.deepcopy(model)
    data = DataLoader(TensorDataset(x, y), batch_size=32)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(20):
        for a, b in data:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(a), b).backward()
            optimiser.step()
            with torch.no_grad():
                for p, q in zip(ema.parameters(), model.parameters(), strict=True):
                    p.mul_(0.9).add_(q, alpha=0.1)

    def accuracy(net: nn.Module) -> float:
        return (net.eval()(x).argmax(1) == y).float().mean().item()

    assert accuracy(ema) < 0.9
    recalibrate(ema, data)
    assert accuracy(ema) >= accuracy(model) - 0.01


class ByName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = classifier()

    def forward(self, image, scale=None):
        return self.net(image)


def test_what_the_model_is_given():
    expected = classifier()
    recalibrate(expected, loader(4))
    wanted = state(expected)

    def got(model: nn.Module, data: object, options: dict) -> dict[str, torch.Tensor]:
        inner = model.net if isinstance(model, ByName) else model
        inner.load_state_dict(wanted)
        for m in inner.modules():
            if hasattr(m, "reset_running_stats"):
                m.reset_running_stats()
        assert recalibrate(model, data, **options).verified
        return state(inner)

    images = [x for x, _ in loader(4)]
    ways = (
        (classifier(), images, {}),
        (classifier(), (x for x in images), {}),  # can be read once alone
        (classifier(), [(x, {"label": 1}) for x in images], {}),
        (ByName(), [{"label": torch.zeros(1), "image": x} for x in images], {}),
        (classifier(), [{"a": {"b": x.numpy()}} for x in images], {
            "forward": lambda model, batch: model(torch.from_numpy(batch["a"]["b"]))}),
        (classifier(), [*images, IMAGES * 100], {"batches": 4}),
    )  # fmt: skip
    for model, batches, options in ways:
        for name, tensor in got(model, batches, options).items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-5)


def test_a_few_batches_of_a_shuffled_loader_are_the_same_in_every_pass():
    model = classifier()
    assert recalibrate(model, loader(2, shuffle=True), batches=3).verified
    assert model[1].running_mean.abs().sum() > 0


def test_wrapped_models():
    for wrap in (AveragedModel, nn.DataParallel, lambda m: torch.compile(m, backend="eager")):
        inner = classifier()
        model = wrap(inner)
        done = recalibrate(model, loader(4))
        assert (len(done.changed), done.verified) == (2, True)
        assert_true_of(model.module if isinstance(model, AveragedModel) else inner, IMAGES)


def test_synchronised_layers_on_the_cpu():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(classifier()).train()
    assert recalibrate(model, loader(1)).verified
    assert_true_of(model, IMAGES)


def test_a_fused_activation_and_half_precision():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), *fused()).train()
    assert recalibrate(model, [IMAGES[:5], IMAGES[5:]]).verified
    half = classifier().to(torch.bfloat16)
    done = recalibrate(half, [IMAGES.bfloat16()])
    assert (len(done.changed), half[1].running_var.dtype) == (2, torch.bfloat16)


def test_a_layer_that_is_called_twice_has_the_statistics_of_both_calls():
    torch.manual_seed(0)
    model = Shared()
    x = torch.randn(64, 4) * 3 + 1
    done = recalibrate(model, [x[:20], x[20:]])
    assert (done.changed, done.verified) == (("norm",), True)
    assert_true_of(model, x, rtol=5e-3)


def test_data_that_differ_from_pass_to_pass_are_told():
    class Drifts:
        start = 0

        def __iter__(self):
            self.start += 1
            yield IMAGES + self.start

    done = recalibrate(classifier(), Drifts())
    assert done.verified is None
    assert "or the data differ from pass to pass" in str(done)


def test_which_layers_are_left():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False),
                          nn.BatchNorm2d(3)).train()  # fmt: skip
    freeze(model, only="0", verify=False)
    model[1].eval()
    done = recalibrate(model, [IMAGES])
    assert done.changed == ("3",)
    assert done.skipped["0"] == "is frozen: undo() of freeze lets it learn"
    assert "only='1' takes it" in done.skipped["1"]
    assert "track_running_stats=False" in done.skipped["2"]
    assert recalibrate(model, [IMAGES], only="1").changed == ("1",)
    assert recalibrate(model.eval(), [IMAGES]).changed == ("1", "3")
    spare = nn.ModuleDict({"used": classifier(), "spare": nn.BatchNorm1d(2)})
    spare.forward = lambda x: spare["used"](x)
    assert recalibrate(spare, [IMAGES]).skipped == {"spare": "is not called in a forward of the first batch"}


@pytest.mark.parametrize(
    ("model", "batches", "words"),
    [
        (classifier(), [], "the loader gives no batch"),
        (classifier(), [IMAGES[:1]], "4 .BatchNorm1d. is given 1 value per channel in all batches together"),
        (classifier(), [IMAGES, IMAGES * float("nan")], "batch 2 brings NaN or infinity to 1 .BatchNorm2d."),
        (classifier(), [IMAGES, IMAGES / 0], "batch 2 brings NaN"),
        (classifier(), [torch.zeros(2, 5)], "Sequential takes no part of the first batch"),
        (classifier(), ["text"], "takes no part of the first batch"),
        (nn.Sequential(nn.LazyBatchNorm2d()), [IMAGES], "changed nothing: 0 has no shape yet"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.LazyConv2d(2, 3)), [IMAGES], "1.weight has no shape yet"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), [IMAGES], "keeps no running statistics"),
        (nn.Sequential(nn.BatchNorm2d(3, device="meta")), [IMAGES], "has no values yet"),
        (nn.Sequential(nn.BatchNorm2d(3).half()), [(IMAGES * 3e3).half()], "too large for torch.float16"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_changed(model, batches, words):
    lazy = any(torch.nn.parameter.is_lazy(p) for p in (*model.parameters(), *model.buffers()))
    before = {} if lazy else state(model)
    mode = [m.training for m in model.modules()]
    with pytest.raises(RepairError, match=words) as caught:
        recalibrate(model, batches)
    assert "\n" not in str(caught.value)
    assert [m.training for m in model.modules()] == mode
    assert lazy or any(t.is_meta for t in before.values()) or same(state(model), before)


def test_an_error_of_the_users_own_passes_and_nothing_is_changed():
    model = classifier()
    before = state(model)
    with pytest.raises(RuntimeError, match="size"):
        recalibrate(model, [IMAGES, IMAGES[:, :2]])
    assert same(state(model), before)

    def breaks():
        yield IMAGES
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        recalibrate(model, breaks())
    with pytest.raises(KeyError, match="image"):
        recalibrate(model, [{"x": IMAGES}], forward=lambda model, batch: model(batch["image"]))
    assert same(state(model), before)


def test_a_model_that_swallows_errors_does_not_swallow_ours():
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = classifier()

        def forward(self, x):
            try:
                return self.net(x)
            except Exception:
                return x

    model = Tries()
    assert recalibrate(model, [IMAGES]).verified
    with pytest.raises(RepairError, match="batch 1 brings NaN"):
        recalibrate(model, [IMAGES * float("nan")])


def test_requests_that_mean_nothing():
    with pytest.warns(UserWarning, match="Linear has no BatchNorm layer: nothing was changed") as caught:
        assert not recalibrate(nn.Linear(2, 2), [IMAGES]).changed
    assert caught[0].filename == __file__
    with pytest.raises(TargetError, match="a str is no model"):
        recalibrate("model.py", [IMAGES])
    with pytest.raises(UsageError, match="int gives no batches"):
        recalibrate(classifier(), 3)
    for number in (0, -1, 2.5, True):
        with pytest.raises(UsageError, match="is no number of batches"):
            recalibrate(classifier(), [IMAGES], batches=number)
    with pytest.raises(UsageError, match="layer9"):
        recalibrate(classifier(), [IMAGES], only="layer9")
    done = recalibrate(classifier(), [IMAGES], verify=False)
    assert done.verified is None
    assert done.notes[0] == "not verified, as verify=False asks"
