"""From a recorded step to a report: names, modes, loaders that were not used, several ranks."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, get_worker_info

from bnguard.errors import BnguardError
from bnguard.findings import Finding, Report, Severity
from bnguard.forecast_facts import ForecastFact
from bnguard.rehearsal import conclude, evaluating
from bnguard.rehearsal.counted import counted
from bnguard.rehearsal.gather import merged
from bnguard.rehearsal.naming import Names, distinct
from bnguard.rehearsal.outcome import Outcome
from bnguard.rehearsal.patches import learning
from bnguard.rehearsal.recorder import Recorder, World
from bnguard.rehearsal.stop import Stop


def data(n: int = 5, batch_size: int = 2, **more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(n, 3)), batch_size=batch_size, **more)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def report_on(loop: Callable[[], None], world: World | None = None) -> Report:
    recorder, names = Recorder(), Names()
    recorder.on_stop = lambda: conclude.look_around(recorder, names)
    with learning(recorder), contextlib.suppress(Stop):
        loop()
    recorder.world = world or recorder.world
    recorder.trained_by_library = False  # pytest is among the callers of this loop
    recorder.look_for_loaders()
    return conclude.forecast(recorder, names)


def told(report: Report) -> list[tuple[str, str, str, bool | None, int | None]]:
    return [(f.model, f.loader, f.mode, f.stops, f.step) for f in report.forecasts]


@pytest.fixture
def with_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclude, "never_calls_eval", lambda _others: False)


@pytest.mark.usefixtures("with_eval")
def test_loaders_that_exist_are_foreseen_and_those_that_are_gone_are_not() -> None:
    def loop() -> None:
        train_loader, val_loader, model = data(), data(3), net()
        data(7)  # nobody holds it
        gc.collect()
        for (x,) in train_loader:
            model(x).sum().backward()
        del val_loader

    assert told(report_on(loop)) == [
        ("model", "train_loader", "train", True, 3),
        ("model", "val_loader", "eval", False, None),
    ]


@pytest.mark.usefixtures("with_eval")
def test_a_second_training_loader_is_foreseen_in_training_mode() -> None:
    def loop() -> None:
        train_a, train_b, model = data(4), data(3), net()
        for (x,) in train_a:
            model(x).sum().backward()
        del train_b

    report = report_on(loop)
    assert told(report) == [("model", "train_a", "train", False, None), ("model", "train_b", "train", True, 2)]
    assert "train_b was not used in the first step" in report.forecasts[1].notes[0]


def test_without_a_call_of_eval_the_model_is_still_in_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclude, "never_calls_eval", lambda _others: True)

    def loop() -> None:
        train_loader, val_loader, model = data(4), data(3), net()
        for (x,) in train_loader:
            model(x).sum().backward()
        del val_loader

    report = report_on(loop)
    assert told(report)[1] == ("model", "val_loader", "train", True, 2)
    (error,) = [f for f in report.findings if f.severity is Severity.ERROR]
    assert (error.loader, error.fix) == (
        "val_loader",
        "call model.eval() before this loader and model.train() after it",
    )
    assert not any(way.loader == "val_loader" for way in report.suggestions)


@pytest.mark.usefixtures("with_eval")
def test_modes_are_those_of_the_step_whatever_happens_on_the_way_out() -> None:
    def loop() -> None:
        train_loader, model = data(), net()
        try:
            model[1].eval()
            for (x,) in train_loader:
                model(x).sum().backward()
        finally:
            model.train()

    assert told(report_on(loop)) == [("model", "train_loader", "train", False, None)]


@pytest.mark.usefixtures("with_eval")
def test_a_rank_with_a_share_of_its_own_says_whose_batches_these_are() -> None:
    def loop() -> None:
        train_loader, model = data(), net()
        for (x,) in train_loader:
            model(x).sum().backward()

    (forecast,) = report_on(loop, World(1, 2)).forecasts
    assert (forecast.rank, forecast.ranks, forecast.step) == (1, (1, 1), 3)
    assert "this is what rank 1 of 2 sees" in forecast.notes[0]


def test_names_are_those_of_variables_attributes_and_keys() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.net, self.loaders = net(), {"train": data()}

        def run(self, names: Names) -> list[str | None]:
            listed, wrapped = [data()], nn.DataParallel(net())
            far = {"away": [data()]}
            names.look([self.net, self.loaders["train"], wrapped.module, listed[0], far["away"][0]])
            return [names.of(v) for v in (self.net, self.loaders["train"], wrapped.module, listed[0], far["away"][0])]

    assert Trainer().run(Names()) == ["net", "loaders.train", "wrapped", "listed[0]", None]
    assert distinct(["a", "b", "a"]) == ["a", "b", "a 2"]


@pytest.mark.parametrize(
    ("source", "never"),
    [
        ("model.train()\nmodel(x)\n", True),
        ("model.train(True)\n", True),
        ("model.eval()\n", False),
        ("model.train(False)\n", False),
        ("model.train(mode=training)\n", False),
        ("models.apply(nn.Module.eval)\n", False),
        ("text = 'model.eval()'\n", True),
        ("this is no Python .eval\n", False),
        ("self.teacher.eval()\nteacher.train(False)\n", True),
        ("teacher.eval()\nstudent.eval()\n", False),
    ],
)
def test_whether_a_script_calls_eval(source: str, never: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "script.py"
    file.write_text(source, encoding="utf-8")
    module = ModuleType("script")
    module.__file__ = str(file)
    monkeypatch.setattr(sys, "modules", {"__main__": module})
    assert evaluating.never_calls_eval({"teacher"}) is never


def test_the_eval_of_a_teacher_is_not_the_students(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    monkeypatch.setattr(conclude, "never_calls_eval", lambda others: bool(asked.append(others)) or True)

    def loop() -> None:
        train_loader, student, teacher = data(), net(), net().eval()
        val_loader = data()
        for (x,) in train_loader:
            with torch.no_grad():
                wanted = teacher(x)
            (student(x) - wanted).square().sum().backward()
        for (x,) in val_loader:
            student(x)

    report = report_on(loop)
    assert asked == [{"teacher"}]
    assert {f.loader for f in report.forecasts if f.model == "student" and f.stops} == {"train_loader", "val_loader"}


def test_a_training_loop_of_a_package_calls_eval_itself(tmp_path: Any) -> None:
    def frame_in(file: str) -> Any:
        space: dict[str, Any] = {"sys": sys}
        exec(compile("def call(): return sys._getframe(0)\nframe = call()", file, "exec"), space)
        return space["frame"]

    folder = "/somewhere/site-packages"
    assert evaluating.trained_by_library(frame_in(f"{folder}/trainer/loop.py"))
    assert not evaluating.trained_by_library(None)
    inside = frame_in(f"{folder}/click/core.py").f_code.co_filename
    assert any(f"/{name}/" in inside for name in evaluating.NO_TRAINERS)


class Shared(IterableDataset[int]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        return iter(range(first, self.n, step))


class Once(IterableDataset[int]):
    def __init__(self) -> None:
        self.stream = iter(range(5))

    def __iter__(self) -> Iterator[int]:
        return self.stream


@pytest.mark.parametrize(("workers", "drop_last"), [(0, False), (1, True), (2, False), (2, True)])
def test_batches_of_an_iterable_dataset_are_counted_as_they_come(workers: int, drop_last: bool) -> None:
    loader = DataLoader(Shared(11), batch_size=4, num_workers=workers, drop_last=drop_last)
    stand_in = counted(loader)
    assert stand_in is not None
    assert stand_in.batch_sampler is not None
    assert [len(b) for b in stand_in.batch_sampler] == [len(b) for b in loader]


def test_what_cannot_be_counted_has_no_stand_in() -> None:
    assert counted(DataLoader(Once(), batch_size=2)) is None
    assert counted(DataLoader(Shared(4), batch_size=None)) is None
    assert counted(data()) is None


# ---------------------------------------------------------------------------------- several ranks


def report(*forecasts: ForecastFact, severity: Severity | None = None) -> Report:
    findings = () if severity is None else (Finding("DL101", severity, "…", loader="loader"),)
    return Report("preflight", forecasts=forecasts, findings=findings)


FINE = ForecastFact("model", "loader", "train", stops=False)
LATER, SOONER = (ForecastFact("model", "loader", "train", stops=True, step=s, rank=r) for s, r in ((5, 0), (3, 1)))


def test_the_rank_that_stops_first_is_reported() -> None:
    one = merged([Outcome(report(LATER, severity=Severity.NOTE), 0), Outcome(report(SOONER), 1)])
    assert one.forecasts == (SOONER,)
    both = merged(
        [Outcome(report(FINE, severity=Severity.NOTE), 0), Outcome(report(LATER, severity=Severity.ERROR), 1)]
    )
    assert both.forecasts == (LATER,)
    assert [f.severity for f in both.findings] == [Severity.ERROR]


def test_an_error_of_one_rank_counts_unless_another_says_more() -> None:
    broken = Outcome(BnguardError("connection closed"), 1)
    with pytest.raises(BnguardError, match="rank 1: connection closed"):
        merged([Outcome(report(FINE), 0), broken])
    assert merged([Outcome(report(LATER, severity=Severity.ERROR), 0), broken]).forecasts == (LATER,)
