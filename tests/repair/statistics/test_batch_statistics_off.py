"""``batch_statistics_off``: one forward that moves nothing, and every module in its mode again."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from repair.models import FusedNorm, Shared, classifier, same, state
from torch import nn

from bnguard._errors import TargetError
from bnguard.repair import allow_single_sample, batch_statistics_off, freeze


def modes(model: nn.Module) -> list[bool]:
    return [m.training for m in model.modules()]


def test_one_sample_passes_as_in_eval_mode_and_moves_nothing():
    torch.manual_seed(0)
    model = classifier()
    model(torch.randn(8, 3, 8, 8))
    x, before = torch.randn(1, 3, 8, 8), state(model)
    with batch_statistics_off(model) as names:
        y = model(x)
        y.sum().backward()  # gradients flow: only the statistics are others
    assert names == ("1", "4")
    assert same(state(model), before)
    assert model[0].weight.grad is not None
    assert all(modes(model))
    assert torch.equal(y, model.eval()(x))
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        model.train()(x)


def test_dropout_and_all_else_keep_their_modes():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), FusedNorm(8), nn.Dropout(0.5), nn.BatchNorm2d(8)).train()
    model[3].eval()
    model[0].eval()
    found = modes(model)
    with batch_statistics_off(model) as names:
        assert names == ("1",)
        assert [m.training for m in model] == [False, False, True, False]
        assert model[1].drop.training
        assert (model(torch.ones(1, 3, 8, 8)) == 0).any()
    assert modes(model) == found


def test_errors_and_nesting():
    model = classifier()
    model[1].eval()
    found = modes(model)

    def breaks():
        with batch_statistics_off(model):
            with batch_statistics_off(model) as inner:
                assert inner == ()
            assert not model[4].training
            raise KeyError

    with pytest.raises(KeyError):
        breaks()
    assert modes(model) == found
    with batch_statistics_off(model[3:]), batch_statistics_off(model):
        model.train()  # whatever happens in between
    assert modes(model) == found


def test_as_a_decorator_and_for_every_call_anew():
    model = classifier()
    act = batch_statistics_off(model)(lambda x: model(x))
    for _ in range(2):
        act(torch.randn(1, 3, 8, 8))
        assert all(modes(model))


def test_layers_of_every_kind():
    class Own(nn.Module):
        """A normaliser of one's own, which is told by its mode what to use."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(3))
            self.register_buffer("running_var", torch.ones(3))

        def forward(self, x):
            mean = x.mean((0, 2, 3)) if self.training else self.running_mean
            if self.training:
                self.running_mean.lerp_(mean, 0.1)
            return x - mean[:, None, None]

    sync = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
    model = nn.Sequential(
        Own(), nn.InstanceNorm2d(3, track_running_stats=True), sync, nn.GroupNorm(1, 3), nn.BatchNorm2d(3)
    )
    before = state(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with batch_statistics_off(model) as names:
            model(torch.randn(1, 3, 4, 4))
    assert names == ("0", "1", "2.0", "4")
    assert same(state(model), before)
    shared = Shared()
    with batch_statistics_off(shared) as names:
        shared(torch.randn(1, 4))
    assert names == ("norm",)
    assert shared.norm.training


def test_wrappers_scripts_and_other_fixes():
    inner = classifier()
    for model in (nn.DataParallel(inner), torch.jit.trace(inner, torch.randn(4, 3, 8, 8)), torch.jit.script(inner)):
        model.train()
        before, found = state(model), modes(model)
        with batch_statistics_off(model) as names:
            assert names == ("1", "4")
            assert isinstance(model, torch.jit.TopLevelTracedModule) or model(torch.randn(1, 3, 8, 8)).shape == (1, 2)
        assert modes(model) == found
        assert same(state(model), before)
    freeze(inner, only="1", verify=False)
    allow_single_sample(inner, only="4", verify=False)
    inner.train()
    with batch_statistics_off(inner) as names:
        inner(torch.randn(4, 3, 8, 8))
    assert names == ("4",)
    assert (inner[1].training, inner[4].training) == (False, True)


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a compiler there")
def test_torch_compile_follows():
    model = classifier()
    compiled = torch.compile(model, backend="eager")
    compiled(torch.randn(4, 3, 8, 8))
    before = state(model)
    with batch_statistics_off(compiled):
        compiled(torch.randn(1, 3, 8, 8))
    assert same(state(model), before)
    compiled(torch.randn(4, 3, 8, 8))
    assert int(model[1].num_batches_tracked) == 2


def test_what_it_cannot_promise_is_said():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False))
    warned = pytest.warns(UserWarning, match=r"1 [(]BatchNorm1d[)] keeps no running statistics")
    with warned as caught, batch_statistics_off(model) as names:
        assert names == ("0", "1")
    assert caught[0].filename == __file__
    with pytest.raises(TargetError, match="a str is no model"):
        batch_statistics_off("model.py").__enter__()
    with batch_statistics_off(nn.Linear(2, 2)) as names:
        assert names == ()
