"""``allow_single_sample``: a lone sample passes, everything else is as without it."""

from __future__ import annotations

import copy
import io
import pickle
import sys

import pytest
import torch
import torchvision
from repair.models import Functional, Shared, classifier, fused, same, state, step
from torch import nn

from bnguard._errors import RepairError, TargetError, UsageError
from bnguard.repair import allow_single_sample


def test_a_lone_sample_is_normalised_by_the_running_statistics():
    norm = nn.BatchNorm1d(4)
    model = nn.Sequential(norm)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x, before = torch.randn(1, 4), state(model)
    want = copy.deepcopy(model).eval()(x)
    allow_single_sample(model, inputs=(4,))
    assert torch.equal(model.train()(x), want)
    assert same(state(model), before)  # the lone sample left no trace in the statistics
    assert norm.training


def test_other_batches_are_treated_as_before():
    torch.manual_seed(0)
    plain = classifier()
    fixed = copy.deepcopy(plain)
    allow_single_sample(fixed, inputs=(3, 8, 8))
    for mode in (True, False):
        for n in (2, 3, 8):
            x = torch.randn(n, 3, 8, 8)
            assert torch.equal(plain.train(mode)(x), fixed.train(mode)(x))
    # one image with several positions has a variance: an ordinary BatchNorm
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(plain.train()[:3](image), fixed.train()[:3](image))
    assert same(state(plain), state(fixed))


def test_training_goes_on_with_one_sample():
    model = classifier()
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        step(model, torch.randn(1, 3, 8, 8))
    done = allow_single_sample(model, inputs=(3, 8, 8))
    assert (done.changed, done.verified, done.skipped) == (("1", "4"), True, {})
    step(model, torch.randn(1, 3, 8, 8))
    assert all(p.grad is not None for p in model.parameters())
    assert isinstance(model[4], nn.BatchNorm1d)
    assert "single_sample=running" in repr(model)
    done.undo()
    assert type(model[4]) is nn.BatchNorm1d
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        step(model, torch.randn(1, 3, 8, 8))


def test_state_dicts_go_both_ways():
    plain, fixed = classifier(), classifier()
    allow_single_sample(fixed, inputs=(3, 8, 8))
    assert list(plain.state_dict()) == list(fixed.state_dict())
    fixed.load_state_dict(plain.state_dict())
    plain.load_state_dict(fixed.state_dict())


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
def test_the_fixed_model_is_copied_and_stored(way):
    model = fused()
    done = allow_single_sample(model, inputs=(3, 3, 3))
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
    step(copied, torch.randn(1, 3, 3, 3))
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        step(model, torch.randn(1, 3, 3, 3))


def test_a_fused_activation_and_its_dropout_go_on():
    model = fused()
    allow_single_sample(model, inputs=(3, 3, 3))
    step(model, torch.randn(1, 3, 3, 3))
    assert model[1].act.weight.grad is not None
    assert model[1].drop.training
    torch.manual_seed(0)
    outputs = model.train()(torch.randn(1, 3, 3, 3).expand(1, 3, 3, 3))
    assert (outputs == 0).any()  # dropout of a lone sample in training


def test_shared_layers_and_names():
    model = Shared()
    done = allow_single_sample(model, inputs=(4,))
    assert done.changed == ("norm",)
    assert model.norm is model.again[1]
    step(model, torch.randn(1, 4))
    done.undo()
    assert type(model.again[1]) is nn.BatchNorm1d


def test_half_precision():
    for dtype in (torch.bfloat16, torch.float16):
        model = nn.Sequential(nn.BatchNorm1d(4))
        allow_single_sample(model, inputs=(4,))
        assert model(torch.randn(1, 4, dtype=dtype)).dtype == dtype  # float32 parameters, half input
        model.to(dtype)
        assert model(torch.randn(1, 4, dtype=dtype)).dtype == dtype
    model = classifier()
    allow_single_sample(model, inputs=(3, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(model, torch.randn(1, 3, 8, 8))


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a compiler there")
def test_torch_compile_follows_both_ways():
    model = fused()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    model[1].drop.p = 0.0
    model.train()
    compiled(torch.randn(4, 3, 3, 3))
    allow_single_sample(model, inputs=(3, 3, 3))  # after it was compiled
    for n in (4, 1, 3, 1):
        x, before = torch.randn(n, 3, 3, 3), model[1].running_mean.clone()
        wanted = copy.deepcopy(model)(x)
        assert torch.allclose(compiled(x), wanted, atol=1e-6)
        assert torch.equal(model[1].running_mean, before) is (n == 1)
        assert model[1].training


def test_only_some_layers():
    model = torchvision.models.resnet18()
    done = allow_single_sample(model, only=["layer4.0", "layer4.1.bn*"], inputs=(3, 32, 32))
    assert done.changed == ("layer4.0.bn1", "layer4.0.bn2", "layer4.0.downsample.1", "layer4.1.bn1", "layer4.1.bn2")
    assert type(model.layer1[0].bn1) is nn.BatchNorm2d
    step(model, torch.randn(1, 3, 32, 32))
    done.undo()
    chosen = allow_single_sample(model, only=lambda name: name.startswith("layer4"), inputs=(3, 32, 32))
    assert len(chosen.changed) == 5
    many = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(12)))
    assert allow_single_sample(many, only="1", inputs=(2,)).changed == ("1",)  # and not 10 and 11
    with pytest.raises(UsageError, match="layer9") as caught:
        allow_single_sample(model, only="layer9.0.bn1")
    assert "did you mean" in (caught.value.hint or "")


def test_what_cannot_be_cured_is_said_and_nothing_is_changed():
    untracked = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False))
    for model, words in (
        (untracked, "2 .BatchNorm1d. still fails at batch size 1: keeps no running statistics"),
        (Functional(), "outside a BatchNorm layer"),
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), "changed nothing: 0 keeps no running statistics"),
        (nn.Sequential(nn.LazyBatchNorm1d()), "has no shape yet"),
    ):
        before = [type(m) for m in model.modules()]
        with pytest.raises(RepairError, match=words):
            allow_single_sample(model, inputs=(3,))
        assert [type(m) for m in model.modules()] == before
    part = allow_single_sample(untracked, inputs=(3,), verify=False)
    assert part.changed == ("1",)
    assert "track_running_stats=False" in part.skipped["2"]
    assert "left as it is: 2: keeps no running statistics" in str(part)


def test_a_model_without_batchnorm_is_told_so():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="Sequential has no BatchNorm layer: nothing was changed") as caught:
        done = allow_single_sample(model)
    assert caught[0].filename == __file__
    assert done.model is model
    assert not done.changed
    with pytest.raises(TargetError, match="a str is no model"):
        allow_single_sample("model.py")


def test_a_second_time_changes_nothing():
    model = classifier()
    first = allow_single_sample(model, inputs=(3, 8, 8))
    again = allow_single_sample(model, inputs=(3, 8, 8))
    assert not again.changed
    assert set(again.skipped.values()) == {"has this fix already"}
    again.undo()
    step(model, torch.randn(1, 3, 8, 8))
    first.undo()
    first.undo()
    assert type(model[4]) is nn.BatchNorm1d


def test_what_cannot_be_followed_is_not_called_verified():
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            raise RuntimeError("not today")

    done = allow_single_sample(Untraceable(), inputs=(4,))
    assert done.verified is None
    assert "not today" in done.notes[0]
    assert "not verified" in str(done)


def test_two_ranks_that_count_together_are_left_to_pytorch(monkeypatch):
    model = nn.Sequential(nn.SyncBatchNorm(4))
    allow_single_sample(model, inputs=(4,))
    model(torch.randn(1, 4))  # alone it is a BatchNorm
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda group=None: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 2)
    with pytest.raises((ValueError, RuntimeError)):  # its own forward: it wants a GPU, or two values
        model(torch.randn(1, 4))
    assert model[0].training
