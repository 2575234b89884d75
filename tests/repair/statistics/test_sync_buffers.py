"""``sync_buffers``: a copy evaluates as its weights deserve, whatever it is wrapped in."""

from __future__ import annotations

import copy

import pytest
import torch
from repair.models import Shared, classifier, same, state
from torch import nn
from torch.optim.swa_utils import AveragedModel

from bnguard._errors import RepairError, TargetError, UsageError
from bnguard.repair import sync_buffers


class Holder(nn.Module):
    """Keeps an average as libraries do: the copy is its ``module``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class Ranks(nn.parallel.DistributedDataParallel):
    """Stands for the wrapper without a process group."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module

    __getstate__, __setstate__ = (lambda self: vars(self).copy()), nn.Module.__setstate__


def trained() -> nn.Module:
    torch.manual_seed(0)
    model = classifier()
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8) * 5 + 3)
    return model


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return classifier()


def buffers(model: nn.Module) -> list[torch.Tensor]:
    return [b.clone() for b in model.buffers()]


WRAPPERS = [
    lambda m: m, nn.DataParallel, Ranks, AveragedModel, Holder, lambda m: torch.compile(m, backend="eager"),
    lambda m: AveragedModel(Ranks(m)), lambda m: Ranks(torch.compile(Holder(m), backend="eager")),
]  # fmt: skip


@pytest.mark.parametrize("around_copy", WRAPPERS)
@pytest.mark.parametrize("around_source", WRAPPERS)
def test_through_wrappers(around_source, around_copy):
    source, mine = around_source(trained()), around_copy(fresh())  # AveragedModel's own buffer is none of the model's
    inner = next(m for m in mine.modules() if type(m) is nn.Sequential)
    before, weights = state(source), [p.clone() for p in inner.parameters()]
    kept = list(inner.buffers())
    done = sync_buffers(source, mine)
    assert (done.changed, done.verified, done.model is mine) == (("1", "4"), True, True)
    assert str(done) == "sync_buffers: 2 layers changed; verified by name and shape"
    assert all(map(torch.equal, inner.buffers(), trained().buffers()))
    assert all(a is b for a, b in zip(inner.buffers(), kept, strict=True))
    assert all(map(torch.equal, inner.parameters(), weights))
    assert same(state(source), before)
    done.undo()
    done.undo()
    assert all(map(torch.equal, inner.buffers(), fresh().buffers()))


def test_an_average_of_the_weights_evaluates_as_the_model_does():
    torch.manual_seed(0)
    x = torch.randn(256, 10) * 20 + 50
    y = (x[:, 0] > 50).long()
    model = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 2))
    ema = copy.deepcopy(model)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(20):
        for rows in torch.arange(256).split(32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
            with torch.no_grad():
                for p, q in zip(ema.parameters(), model.parameters(), strict=True):
                    p.lerp_(q, 0.1)

    def accuracy(net: nn.Module) -> float:
        return (net.eval()(x).argmax(1) == y).float().mean().item()

    assert accuracy(ema) < 0.9
    sync_buffers(model, ema)
    assert accuracy(ema) >= accuracy(model) - 0.01


def test_all_buffers_keep_their_dtype():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.register_buffer("scale", torch.zeros(()))
            self.register_buffer("mask", torch.zeros(2, dtype=torch.bool), persistent=False)
            self.register_buffer("nothing", None)

    source, mine = Scaled(), Scaled().half()
    source.scale += 3
    source.mask[1] = True
    assert sync_buffers(source, mine).changed == ("", "norm")
    assert (mine.scale.item(), mine.scale.dtype, mine.mask.tolist()) == (3, torch.float16, [False, True])
    shared, other = Shared(), Shared()
    shared.norm.running_mean += 1
    done = sync_buffers(shared, other)
    assert done.changed == ("norm", "again.1")
    assert torch.equal(other.norm.running_mean, torch.ones(4))
    done.undo()
    assert torch.equal(other.norm.running_mean, torch.zeros(4))


@pytest.mark.parametrize(
    ("source", "mine", "words", "hint"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Sequential(nn.BatchNorm1d(2)),
         "1.running_mean and 2 more buffers of the source are not in the copy", "did you mean 0.running_mean?"),
        (nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.BatchNorm1d(2)),
         "0.running_mean and 2 more buffers of the copy are not in the source", "give two models of one architecture"),
        (nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), "running_mean and 2 more", "give two"),
        (nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(3)), nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(4)),
         "1.running_mean has the shape (3,) in the source and (4,) in the copy", "give two"),
        (nn.BatchNorm1d(2), nn.LazyBatchNorm1d(), "running_mean of the copy has no shape yet", "run one forward"),
        (nn.BatchNorm1d(2, device="meta"), nn.BatchNorm1d(2), "running_mean of the source is on the meta device", ""),
    ],
)  # fmt: skip
def test_a_difference_is_told_and_nothing_is_changed(source, mine, words, hint):
    for model in (source, mine):
        for tensor in model.buffers():
            if not torch.nn.parameter.is_lazy(tensor) and tensor.is_floating_point():
                tensor.add_(id(model) % 97)
    before = [] if any(map(torch.nn.parameter.is_lazy, mine.buffers())) else buffers(mine)
    with pytest.raises(RepairError) as caught:
        sync_buffers(source, mine)
    assert caught.value.message.startswith(words)
    assert caught.value.message.endswith("; nothing was changed")
    assert hint in (caught.value.hint or "")
    assert "\n" not in caught.value.message
    assert all(map(torch.equal, before, mine.buffers()))


def test_an_error_halfway_takes_all_of_it_back():
    source, mine = trained(), fresh()
    with torch.inference_mode():  # nobody may write to such a tensor outside
        mine[4].running_var = torch.ones(6)
    before = buffers(mine)
    with pytest.raises(RuntimeError, match=r"[Ii]nference"):
        sync_buffers(source, mine)
    assert all(map(torch.equal, before, mine.buffers()))


def test_requests_that_mean_nothing():
    model = trained()
    for pair in ((model, model), (nn.DataParallel(model), model)):
        with pytest.raises(UsageError, match="source and copy are one model"):
            sync_buffers(*pair)
    with pytest.raises(TargetError, match="a OrderedDict is no model"):
        sync_buffers(model.state_dict(), model)
    done = sync_buffers(nn.Linear(2, 2), nn.Linear(2, 2))
    assert (done.changed, done.notes) == ((), ("there is no buffer to copy",))
    tied = copy.copy(model)
    assert not sync_buffers(model, nn.Sequential(*model)).changed  # the very same layers
    assert not sync_buffers(model, tied).changed
