"""Outcomes come back as they were, hold facts alone, and several ranks' become one report."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from bnguard._errors import BnguardError, UserCodeError
from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.models import SourceLine
from bnguard._preflight import outcome
from bnguard._preflight.outcome import Outcome, merged
from bnguard._remedies import MERGE_TAIL

FORECAST = ForecastFact("net", "loader", "train", True, at=SizeFact(1, True, source=SourceLine("a.py", 3)), step=4)
FINDING = Finding("DL101", Severity.ERROR, "ends with 1", remedies=(MERGE_TAIL.for_case(),), loader="loader")
STOPS = Report("preflight", forecasts=(FORECAST,), findings=(FINDING,), extra={"not_reached": []})
HOLDS = Report("preflight", forecasts=(ForecastFact("net", "loader", "train", False),), extra={"not_reached": []})


def test_an_outcome_comes_back_as_it_was(tmp_path: Path) -> None:
    outcome.write(tmp_path, Outcome(STOPS, 1, misled=True, at=5.0))
    error = UserCodeError("it raised", hint="look", detail="Traceback …")
    outcome.write(tmp_path, Outcome(error, 0, at=6.0))
    first, second = outcome.read(tmp_path)
    assert second == Outcome(STOPS, 1, misled=True, at=5.0)
    assert type(first.result) is UserCodeError
    assert vars(first.result) == vars(error)
    assert outcome.read(tmp_path, since=tmp_path.stat().st_mtime + 1000) == []


def test_where_the_folder_is_gone_nobody_waits(tmp_path: Path) -> None:
    gone = tmp_path / "rank-1"
    outcome.write(gone, Outcome(STOPS))
    outcome.tell_stop(gone)
    assert outcome.read(gone) == []
    assert not outcome.was_left_alone(gone)


class Runs:
    """Pickled, it is a call."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("call", [(os.system, "touch seen"), (eval, "1"), (getattr, "", "join")], ids=str)
def test_an_outcome_runs_nothing(call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0-1.outcome").write_bytes(pickle.dumps(Outcome(Runs(*call))))
    with pytest.raises(pickle.UnpicklingError, match="holds no"):
        outcome.read(tmp_path)
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize(
    "name", ["bnguard._preflight.outcome os.system", "bnguard._errors did_you_mean", "bnguard._run.script script"]
)
def test_nor_through_a_module_of_ours(name: str, tmp_path: Path) -> None:
    module, attribute = name.split()
    asks = (
        pickle.PROTO
        + b"\x04"
        + b"".join(pickle.SHORT_BINUNICODE + bytes([len(t)]) + t.encode() for t in (module, attribute))
    )
    (tmp_path / "0-1.outcome").write_bytes(asks + pickle.STACK_GLOBAL + pickle.STOP)
    with pytest.raises(pickle.UnpicklingError, match="holds no"):
        outcome.read(tmp_path)


def failed(text: str, rank: int, at: float, *, spare: bool = False) -> Outcome:
    return Outcome(BnguardError(text), rank, spare=spare, at=at)


def test_the_first_error_is_the_cause_of_the_others() -> None:
    with pytest.raises(BnguardError, match="rank 1: killed"):
        merged([failed("connection closed", 0, 8.0), failed("killed", 1, 0.0), Outcome(HOLDS, 2)])


def test_what_stops_is_reported_whatever_became_of_the_other_ranks() -> None:
    assert merged([failed("connection closed", 0, 1.0), Outcome(STOPS, 1)]) == STOPS


def test_a_rank_that_does_not_train_is_named_where_another_does() -> None:
    idle = failed("it ended without a training step", 1, 1.0, spare=True)
    found = merged([Outcome(HOLDS, 0), idle])
    assert found.ok
    assert found.extra["not_reached"] == [{"what": "rank 1", "why": "it ended without a training step"}]
    with pytest.raises(BnguardError, match="rank 1: it ended"):
        merged([idle, failed("it ended", 2, 2.0, spare=True)])
    with pytest.raises(BnguardError, match="rank 2: it raised"):
        merged([Outcome(HOLDS, 0), idle, failed("it raised", 2, 9.0)])


def test_processes_of_one_training_are_told_that_one_was_stopped(tmp_path: Path) -> None:
    mine, other = tmp_path / "rank-0", tmp_path / "rank-1"
    mine.mkdir()
    other.mkdir()
    outcome.tell_stop(mine)
    assert not outcome.was_left_alone(mine)
    assert outcome.was_left_alone(other) is False  # this very process is not another one
    (other / "1.stopped").touch()
    assert outcome.was_left_alone(mine)


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
