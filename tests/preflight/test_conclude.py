"""From what was seen to a report: names, loaders, other ranks."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, get_worker_info

from bnguard._facts.findings import Report, Severity
from bnguard._preflight import conclude, passes
from bnguard._preflight.batches import counted
from bnguard._preflight.naming import Names, distinct, look_around
from bnguard._preflight.outcome import Settings, Stop
from bnguard._preflight.patches import watching
from bnguard._preflight.recorder import Recorder, World


def data(n: int = 5, batch_size: int = 2, **more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(n, 3)), batch_size=batch_size, **more)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def report_on(loop: Callable[[], None], world: World | None = None, budget: float = 60.0) -> Report:
    recorder, names = Recorder(Settings(budget, float("inf"))), Names()
    recorder.on_new = lambda: look_around(recorder, names)
    error: BaseException | None = None
    with watching(recorder):
        try:
            loop()
        except Stop:
            pass
        except Exception as raised:
            error = raised
        recorder.closed = True
    recorder.world = world or recorder.world
    return conclude.report(recorder, names, conclude.failure(recorder, error))


def told(report: Report) -> list[tuple[str, str, str, bool | None, int | None]]:
    return [(f.model, f.loader, f.mode, f.stops, f.step) for f in report.forecasts]


def train(model: nn.Module, loader: DataLoader[Any]) -> None:
    for (x,) in loader:
        model(x).sum().backward()


def test_loaders_that_were_used_are_told_and_one_that_was_not_is_named() -> None:
    def loop() -> None:
        train_loader, val_loader, test_loader, model = data(4), data(3), data(3), net()
        train(model, train_loader)
        model.eval()
        for (x,) in val_loader:
            model(x)
        assert test_loader

    found = report_on(loop)
    assert told(found) == [
        ("model", "train_loader", "train", False, None),
        ("model", "val_loader", "eval", False, None),
    ]
    assert all(f.ground == "seen" for f in found.forecasts)
    assert found.extra["not_reached"] == [{"what": "test_loader", "why": "no batch was asked of it"}]
    assert found.ok


def test_a_loader_that_gives_no_batch_is_told() -> None:
    def loop() -> None:
        loader, model = data(3, 8, drop_last=True), net()
        for _ in range(3):
            train(model, loader)

    found = report_on(loop)
    assert told(found) == []
    assert [(f.code, f.loader, f.severity) for f in found.findings] == [("DL105", "loader", Severity.ERROR)]


def test_a_loader_that_gives_no_batch_beside_one_that_does_is_a_warning() -> None:
    def loop() -> None:
        loader, val_loader, model = data(4), data(3, 8, drop_last=True), net()
        train(model, loader)
        train(model.eval(), val_loader)

    found = report_on(loop)
    assert [f.stops for f in found.forecasts] == [False]
    assert [(f.code, f.loader, f.severity) for f in found.findings] == [("DL105", "val_loader", Severity.WARNING)]


def test_epochs_without_a_batch_end_with_the_budget() -> None:
    passes = 0

    def loop() -> None:
        nonlocal passes
        loader = data(3, 8, drop_last=True)
        for _ in range(1000):
            train(net(), loader)
            passes += 1

    assert [f.code for f in report_on(loop, budget=0.0).findings] == ["DL105"]
    assert passes < 3


def test_folds_that_are_alike_are_one_and_the_one_that_stops_speaks() -> None:
    def loop() -> None:
        for n in (4, 6, 5, 4):
            model, loader = net(), data(n)
            train(model, loader)

    (forecast,) = report_on(loop).forecasts
    assert (forecast.model, forecast.loader, forecast.stops, forecast.step) == ("model", "loader", True, 3)


def test_what_stops_in_a_later_epoch_says_which() -> None:
    def loop() -> None:
        model, loader = net(), data()
        model[1].eval()
        for epoch in range(3):
            model[1].train(epoch == 2)
            train(model, loader)

    (forecast,) = report_on(loop).forecasts
    assert (forecast.stops, forecast.epoch, forecast.step) == (True, 3, 3)


def test_a_plan_that_says_otherwise_than_what_was_run_is_a_note() -> None:
    def loop() -> None:
        model, loader = net(), data()
        for _ in range(2):
            model(next(iter(loader))[0]).sum().backward()

    found = report_on(loop)
    (forecast,) = found.forecasts
    assert forecast.stops is False
    assert any("on shapes alone this would stop at step 3" in note for note in forecast.notes)
    assert {f.severity for f in found.findings} <= {Severity.NOTE}
    assert found.suggestions == ()


def test_a_failure_outside_any_model_is_told_without_a_step() -> None:
    def loop() -> None:
        nn.functional.batch_norm(torch.randn(1, 3), None, None, training=True)

    found = report_on(loop)
    assert told(found) == [("the model", conclude.NO_LOADER, "train", True, None)]
    assert [f.code for f in found.findings] == ["RT101"]


def test_the_budget_ends_a_training_without_a_loader_and_nothing_is_promised() -> None:
    def loop() -> None:
        model = net()
        while True:
            model(torch.randn(4, 3)).sum().backward()

    (forecast,) = report_on(loop, budget=0.0).forecasts
    assert (forecast.stops, forecast.loader) == (None, conclude.NO_LOADER)
    assert "not all of it was run" in (forecast.unknown or "")


def test_later_epochs_that_the_budget_does_not_reach_are_named() -> None:
    def loop() -> None:
        model, loader = net(), data(4)
        while True:
            train(model, loader)

    found = report_on(loop, budget=0.0)
    assert told(found) == [("model", "loader", "train", False, None)]
    (missing,) = found.extra["not_reached"]
    assert missing["what"] == "loader: what comes after its first epoch"


def test_a_rank_with_a_share_of_its_own_says_whose_batches_these_are() -> None:
    def loop() -> None:
        model, loader = net(), data()
        train(model, loader)

    (forecast,) = report_on(loop, World(1, 2)).forecasts
    assert (forecast.rank, forecast.ranks, forecast.step) == (1, (1, 1), 3)
    assert any("this is what rank 1 of 2 sees" in note for note in forecast.notes)


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
    assert counted(loader, 30.0) == [len(b) for b in loader]


def test_what_cannot_be_counted() -> None:
    assert counted(DataLoader(Once(), batch_size=2), 30.0) is None
    assert counted(DataLoader(Shared(4), batch_size=None), 30.0) is None


def test_the_lines_to_paste_are_in_the_names_of_the_script() -> None:
    def loop() -> None:
        batches, model = data(5), net()
        train(model, batches)

    found = report_on(loop)
    (error,) = (f for f in found.findings if f.severity is Severity.ERROR)
    lines = {advice.call for advice in error.remedies} | {way.call for way in found.suggestions if way.call}
    assert "batches = bnguard.repair.merge_tail(batches)" in lines
    assert not any("loader" in line for line in lines if line), lines


def test_where_no_loader_gave_the_batch_none_is_to_be_changed() -> None:
    def loop() -> None:
        model = net()
        model(torch.randn(1, 3)).sum().backward()

    (error,) = (f for f in report_on(loop).findings if f.severity is Severity.ERROR)
    assert error.remedies
    assert not any("loader" in advice.text for advice in error.remedies)


def test_a_failure_that_ends_in_an_exit_code_is_one_though_other_work_came_between() -> None:
    """A sweep, or a test runner: it goes on, and says at the end that something has failed."""
    recorder, model = Recorder(Settings(60.0, float("inf"))), net()
    error: BaseException | None = None
    with watching(recorder):
        with contextlib.suppress(ValueError):
            train(model, data(5))
        try:
            train(model, data(4))
            sys.exit("1 of 2 runs failed")
        except SystemExit as raised:
            error = raised
    assert conclude.failure(recorder, error) is not None
    assert conclude.failure(recorder, SystemExit(0)) is None


# ------------------------------------------------------------------------------------- loaders of other libraries


class Twin:
    """A loader as Accelerate prepares one: another over the same batches, while the script keeps its own."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.base_dataloader = DataLoader(loader.dataset, batch_sampler=loader.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.base_dataloader)


def test_a_loader_and_what_was_prepared_of_it_are_one() -> None:
    def loop() -> None:
        loaders, model = {"train": data(4), "valid": data(4)}, net()
        prepared = {name: Twin(loader) for name, loader in loaders.items()}
        for (x,) in prepared["train"]:
            model(x).sum().backward()

    found = report_on(loop)
    assert [f.loader for f in found.forecasts] == ["loaders.train"]
    assert [missing["what"] for missing in found.extra["not_reached"]] == ["loaders.valid"]


class Batches(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from ((torch.randn(n, 3),) for n in (4, 4, 1))


class Pipeline:
    """As webdataset's WebLoader."""

    def __init__(self, *stages: Any) -> None:
        self.pipeline = list(stages)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pipeline[0])


def test_batches_that_a_dataset_makes_are_not_said_to_be_merged() -> None:
    def loop() -> None:
        train_loader = Pipeline(DataLoader(Batches(), batch_size=None))
        train(net(), train_loader)  # type: ignore[arg-type]

    found = report_on(loop)
    assert [(f.loader, f.stops, f.step) for f in found.forecasts] == [("train_loader", True, 3)]
    assert [(f.code, [a.kind for a in f.remedies]) for f in found.findings] == [("DL101", ["own-batches"])]
    assert found.suggestions == ()


# ------------------------------------------------------------------------------------------------------- limits


class CombinedLoader:
    """As Lightning's, which counts what its Trainer takes (``limit_train_batches`` and its like)."""

    def __init__(self, loader: DataLoader[Any], limit: float) -> None:
        self.flattened, self.limits = [loader], [limit]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.flattened[0])


CombinedLoader.__module__ = "lightning.pytorch.utilities.combined_loader"


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize(("limit", "stops"), [(20, False), (float("inf"), True), (501, True), (500, False)])
def test_what_a_trainer_takes_is_the_epoch(
    share: float, limit: float, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where most batches are left out: the last of them all is not among the first twenty."""
    monkeypatch.setattr(passes, "SHARE", share)

    def loop() -> None:
        loader, model = data(1001), net()
        for step, (x,) in enumerate(CombinedLoader(loader, limit)):
            if step < limit:
                model(x).sum().backward()

    found = report_on(loop)
    (forecast,), (fact,) = found.forecasts, found.loaders
    assert forecast.stops is stops
    assert fact.steps == forecast.steps == min(limit, 501)
    assert any("Lightning's Trainer takes" in note for note in fact.notes) is (limit < 501)
    assert [f.severity for f in found.findings] == ([Severity.ERROR] if stops else [])


# ------------------------------------------------------------------------------------------- batches cut anew


def cut_anew(loader: DataLoader[Any], size: int, buffer: int) -> Iterator[torch.Tensor]:
    """Fetch batches and give others, as ``.unbatched().shuffle(buffer).batched(size)`` of webdataset does."""
    rows = (row for (x,) in loader for row in x)
    ahead = deque(itertools.islice(rows, buffer))
    rest = itertools.chain(rows, ahead)
    while batch := tuple(itertools.islice(rest, size)):
        yield torch.stack(batch)


@pytest.mark.parametrize("buffer", [0, 100])
@pytest.mark.parametrize(("n", "fetched", "size"), [(2006, 7, 5), (2008, 6, 9), (2009, 10, 8), (2021, 10, 20)])
def test_batches_that_are_cut_anew_are_all_run_or_nothing_is_promised(
    n: int, fetched: int, size: int, buffer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "SHARE", 0.0)

    def loop() -> None:
        model = net()
        for x in cut_anew(data(n, fetched), size, buffer):  # the last one holds a single row
            model(x).sum().backward()

    assert any(f.stops is not False for f in report_on(loop).forecasts)


@pytest.mark.parametrize(("n", "size"), [(24, 8), (64, 64), (20, 10)])
def test_dataparallel_that_finds_no_device_may_find_some_elsewhere(n: int, size: int) -> None:
    """The pieces are those of ``torch.chunk``, and a piece of one sample really raises."""
    model = nn.DataParallel(net())
    lone = [k for k in range(2, 9) if any(len(x) == 1 for x in torch.zeros(size, 3).chunk(k))]
    devices = next(iter(lone), None)
    with pytest.raises(ValueError, match="more than 1 value"):
        model(torch.zeros(1, 3))
    (forecast,) = report_on(lambda: train(model, data(n, size))).forecasts
    if devices is None:
        assert (forecast.stops, forecast.ground) == (False, "assumed")
        assert forecast.assumption == "no more than 8 devices for DataParallel"
    else:
        assert forecast.stops is None
        assert f"stops on {devices} at step 1 of {n // size} at 1" in (forecast.unknown or "")


def kinds(report: Report) -> list[str]:
    return [advice.kind for finding in report.findings for advice in finding.remedies]


def test_a_model_that_belongs_in_eval_mode_is_no_reason_to_change_a_loader() -> None:
    def validate(model: nn.Module, val_loader: DataLoader[Any]) -> None:
        for (x,) in val_loader:
            model(x)

    found = report_on(lambda: validate(net(), data()))
    assert [f.stops for f in found.forecasts] == [True]
    assert kinds(found) == ["eval-mode"]
    assert found.suggestions == ()


def test_a_chunk_of_one_is_told_of_once_and_without_a_tail() -> None:
    class Ghost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.bn(part) for part in x.split(2)])

    found = report_on(lambda: train(Ghost(), data(6, 3)))
    assert [(f.code, f.severity) for f in found.findings] == [("RT101", Severity.ERROR)]
    assert kinds(found) == ["batch-size", "allow-single-sample"]


def test_instance_norm_is_told_of_once_in_the_words_of_its_own_rule() -> None:
    images = DataLoader(TensorDataset(torch.randn(4, 3, 4, 4)), batch_size=2)
    model = nn.Sequential(nn.Conv2d(3, 4, 4), nn.InstanceNorm2d(4))
    found = report_on(lambda: train(model, images))
    assert [f.code for f in found.findings] == ["BN205"]
    assert kinds(found) == ["larger-input"]


def test_a_loader_and_its_layer_have_their_lines() -> None:
    def main() -> None:
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        loader = DataLoader(TensorDataset(torch.randn(5, 3)), batch_size=2)
        train(model, loader)

    (finding,) = report_on(main).findings
    first = main.__code__.co_firstlineno
    assert [(p.words, p.line.line - first) for p in finding.places] == [("made at", 2), ("layer built at", 1)]
    assert finding.location == finding.loader_line


def test_a_loader_without_a_name_is_called_as_the_loop_calls_it() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = net()
            self.loaders = {"train": data(), "val": data(4)}

        def fit(self) -> None:
            for phase in ("train", "val"):
                for (x,) in self.loaders[phase]:
                    self.model(x).sum().backward()

    found = report_on(lambda: Trainer().fit())
    assert found.findings[0].remedies[0].call == "self.loaders[phase] = bnguard.repair.merge_tail(self.loaders[phase])"


def test_a_forward_after_the_last_epoch_is_no_step_of_it() -> None:
    def main() -> None:
        model, loader = net(), data(4)
        train(model, loader)
        model(torch.randn(1, 3))

    found = report_on(main)
    assert [(f.loader, f.stops, f.step) for f in found.forecasts] == [
        ("(no DataLoader)", True, None),
        ("loader", False, None),
    ]
    assert kinds(found)[0] == "eval-mode"


def test_more_samples_are_no_way_out_for_groups_of_one_channel() -> None:
    found = report_on(lambda: train(nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(4, 4)), data()))
    assert kinds(found) == ["fewer-groups"]
    assert found.suggestions == ()
