"""What is put in the place of torch's parts while a script is watched, and that it is put back."""

from __future__ import annotations

import builtins
import copy
import sys
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import optimizer as optimizer_module
from torch.utils.data import DataLoader, TensorDataset

from bnguard._preflight.batches import counted
from bnguard._preflight.child import watch
from bnguard._preflight.naming import Names, loader_names, look_around
from bnguard._preflight.outcome import Settings
from bnguard._preflight.patches import Followed, follow_processes, watching
from bnguard._preflight.recorder import Recorder

FOR_EVER = Settings(budget=60.0, deadline=float("inf"))


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
    """What is replaced while a script is watched."""
    return {
        "DataLoader": dict(vars(DataLoader)),
        "OwnLoader": dict(vars(OwnLoader)),
        "enumerate": builtins.enumerate,
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
        recorder = Recorder(FOR_EVER)
        with watching(recorder) as stack:
            follow_processes(stack, recorder, tmp_path, watch)
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
    with watching(Recorder(FOR_EVER)):
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

    recorder = Recorder(FOR_EVER)
    with watching(recorder):
        assert torch.compile(Net())(torch.zeros(1)).item() == 1.0
    assert seen == [False]


def test_an_older_torch_is_told_to_compile_nothing_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo import config

    from bnguard import _private_torch as private

    monkeypatch.delattr(torch.compiler, "set_stance", raising=False)
    before = config.disable
    with private.compiled_code_runs_eagerly():
        assert config.disable is True
    assert config.disable is before


def test_weights_move_and_a_counter_of_steps_is_content() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.detach().clone()
    with watching(Recorder(FOR_EVER)):
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    assert not torch.equal(before, model.weight)


FASTAIS_LOADER = """
import torch

class DataLoader:
    def __init__(self, dataset, bs):
        self.dataset, self.bs, self.n, self.indexed, self.drop_last = dataset, bs, len(dataset), True, False

    def __len__(self):
        return -(-self.n // self.bs)

    def __iter__(self):
        for start in range(0, self.n, self.bs):
            yield torch.stack(list(self.dataset[start : start + self.bs]))

    sample = create_batches = chunkify = None
"""


@pytest.mark.parametrize("imported_before", [True, False])
def test_fastais_loaders_are_followed_under_their_own_names(
    imported_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fastai/data").mkdir(parents=True)
    (tmp_path / "fastai/data/load.py").write_text(FASTAIS_LOADER)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("fastai", "fastai.data", "fastai.data.load"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    kind = import_module("fastai.data.load").DataLoader if imported_before else None
    recorder, names = Recorder(FOR_EVER), Names()
    recorder.on_new = lambda: look_around(recorder, names)
    with watching(recorder):
        kind = kind or import_module("fastai.data.load").DataLoader
        train_loader, model = kind(torch.randn(9, 3), bs=4), nn.Linear(3, 1)
        assert [len(model(batch)) for _ in range(2) for batch in train_loader] == [4, 4, 1] * 2
    (seen,) = recorder.loaders
    assert loader_names(recorder, names) == {seen: "train_loader"}
    assert [[batch.size for batch in run.given] for run in seen.passes] == [[4, 4, 1]] * 2
    assert [use.loader for use in recorder.uses] == [seen]
    assert vars(kind)["__iter__"].__qualname__ == "DataLoader.__iter__"
    assert not hasattr(vars(kind)["__iter__"], "__wrapped__")


WEB_LOADER = """
class DataPipeline:
    def __init__(self, *stages):
        self.pipeline = list(stages)

    def __iter__(self):
        given = self.pipeline[0]
        for stage in self.pipeline[1:]:
            given = stage(given)
        return iter(given)

class WebLoader(DataPipeline):
    pass
"""


def test_the_steps_of_a_web_loader_are_those_of_its_last_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "webdataset").mkdir()
    (tmp_path / "webdataset/__init__.py").touch()  # the real one may be installed
    (tmp_path / "webdataset/pipeline.py").write_text(WEB_LOADER)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("webdataset", "webdataset.pipeline"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    recorder, names = Recorder(FOR_EVER), Names()
    recorder.on_new = lambda: look_around(recorder, names)
    with watching(recorder):
        kind, model = import_module("webdataset.pipeline").WebLoader, nn.Linear(3, 1)
        plain = kind(DataLoader(torch.randn(9, 3), batch_size=8))
        staged = kind(DataLoader(torch.randn(9, 3), batch_size=4), lambda batches: torch.cat(list(batches)).split(8))
        assert [len(model(batch)) for loader in (plain, staged) for batch in loader] == [8, 1, 8, 1]
    assert set(loader_names(recorder, names).values()) == {"plain", "staged"}
    assert [[batch.size for batch in s.passes[0].given] for s in recorder.loaders] == [[8, 1], [8, 1]]
    assert not recorder.untouched()


class DataLoaderDispatcher:
    """As Accelerate's: each rank gets its part of two batches."""

    def __init__(self, loader: Any) -> None:
        self.base_dataloader, self.state = loader, SimpleNamespace(num_processes=2)

    def __iter__(self) -> Any:
        batches = iter(self.base_dataloader)
        for batch in batches:
            both = torch.cat([batch, *([following] if (following := next(batches, None)) is not None else [])])
            yield both[: -(-len(both) // 2)]


def test_what_accelerate_deals_out_is_counted_as_each_rank_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data_loader = pytest.importorskip("accelerate.data_loader")
    monkeypatch.setattr(DataLoaderDispatcher, "__module__", "accelerate.data_loader")
    monkeypatch.setattr(data_loader, "DataLoaderDispatcher", DataLoaderDispatcher)
    recorder = Recorder(FOR_EVER)
    with watching(recorder):
        prepared, model = DataLoaderDispatcher(DataLoader(torch.randn(17, 3), batch_size=8)), nn.Linear(3, 1)
        assert [len(model(batch)) for batch in prepared] == [8, 1]
    (seen,) = recorder.loaders
    assert [(batch.step, batch.size) for batch in seen.passes[0].given] == [(1, 8), (2, 1)]
    assert seen.passes[0].way == "whole"
    assert counted(seen.loader, 1) is None  # that would take all ranks
