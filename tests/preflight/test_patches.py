"""While a step is watched no weight moves, whatever the optimizer; afterwards torch is as it was."""

from __future__ import annotations

import copy
import warnings
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim import optimizer as optimizer_module
from torch.utils.data import DataLoader, TensorDataset

from bnguard.rehearsal.child import rehearse
from bnguard.rehearsal.patches import Followed, learning
from bnguard.rehearsal.processes import follow_processes
from bnguard.rehearsal.recorder import Recorder

SPARSE_ONLY = ("SparseAdam",)
CLASSES = sorted(
    (c for c in vars(optim).values() if isinstance(c, type) and issubclass(c, optim.Optimizer)
     and c is not optim.Optimizer and c.__name__ not in SPARSE_ONLY), key=lambda c: c.__name__,
)  # fmt: skip


def made(kind: type[optim.Optimizer], model: nn.Module) -> optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() == 2]
    parameters = matrices if kind.__name__ == "Muon" else list(model.parameters())
    more: dict[str, Any] = {"lr": 0.5}
    if kind.__name__ == "SGD":
        more |= {"momentum": 0.9, "weight_decay": 0.1}
    return kind(parameters, **more)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("by_closure", [False, True])
def test_no_optimizer_moves_a_weight_and_each_returns_what_it_should(
    kind: type[optim.Optimizer], by_closure: bool
) -> None:
    model = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    optimizer = made(kind, model)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    def step() -> Any:
        if by_closure or kind is optim.LBFGS:
            return optimizer.step(closure)
        closure()
        return optimizer.step()

    before, gradients = state(model), None
    with learning(Recorder()):
        returned = step()
        gradients = [p.grad for p in model.parameters()]
    assert same(before, state(model))
    assert all(g is not None for g in gradients)  # a script that logs them finds them
    if by_closure or kind is optim.LBFGS:
        assert float(returned.detach()) == pytest.approx(model(x).square().sum().item())
    else:
        assert returned is None
    step()
    assert not same(before, state(model))  # and without the recorder it learns


def test_schedulers_and_scalers_see_a_step() -> None:
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters())
    schedule = optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu")
    before = state(model)
    with warnings.catch_warnings(), learning(Recorder()):
        warnings.simplefilter("error")
        scaler.scale(model(torch.randn(4, 3)).sum()).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
    assert same(before, state(model))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


class OwnLoader(DataLoader[Any]):
    """Fetches one batch ahead, as Accelerate's does."""

    def __iter__(self) -> Any:
        ahead = super().__iter__()
        current = next(ahead, None)
        while current is not None:
            following = next(ahead, None)
            yield current
            current = following


def everything() -> dict[str, object]:
    """What is replaced while a step is watched."""
    return {
        "DataLoader": dict(vars(DataLoader)),
        "OwnLoader": dict(vars(OwnLoader)),
        "Module": dict(vars(nn.Module)),
        "torch": {k: v for k, v in vars(torch).items() if callable(v)},
        "Process": dict(vars(BaseProcess)),
        "hooks": [dict(v) for n, v in sorted(vars(optimizer_module).items()) if n.startswith("_global_optimizer")],
    }


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_torch_is_as_it_was(error: type[BaseException] | None, tmp_path: Path) -> None:
    torch.compile(nn.Linear(2, 2), backend="eager")(torch.zeros(1, 2))  # its first use changes nn.Module for good
    before = copy.copy(everything())
    try:
        recorder = Recorder()
        with learning(recorder) as stack:
            follow_processes(stack, recorder, tmp_path, rehearse)
            OwnLoader(TensorDataset(torch.zeros(3)), batch_size=1)
            compiled = torch.compile(nn.Linear(2, 2), backend="eager")
            compiled(torch.zeros(1, 2))
            assert everything() != before
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert everything() == before


def test_a_followed_iterator_is_the_iterator_in_all_else() -> None:
    loader = DataLoader(TensorDataset(torch.zeros(5, 1)), batch_size=2)
    with learning(Recorder()):
        iterator = iter(loader)
        assert isinstance(iterator, Followed)
        assert iter(iterator) is iterator
        assert len(iterator) == 3
        assert iterator._dataset_kind == iter(loader)._dataset_kind  # type: ignore[attr-defined]
        assert [len(x) for (x,) in iterator] == [2, 2, 1]


def test_compiled_models_run_as_they_are_written() -> None:
    seen = []

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.compiler.is_compiling())
            return x + 1

    recorder = Recorder()
    with learning(recorder):
        assert torch.compile(Net())(torch.zeros(1)).item() == 1.0
    assert seen == [False]


def test_an_older_torch_is_told_to_compile_nothing_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo import config

    from bnguard.model import private

    monkeypatch.delattr(torch.compiler, "set_stance", raising=False)
    before = config.disable
    with private.compiled_code_runs_eagerly():
        assert config.disable is True
    assert config.disable is before
