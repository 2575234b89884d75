"""What the starting process and those that run the script tell each other, and several ranks' outcomes in one."""

from __future__ import annotations

import io
import json
import os
import pickle
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from bnguard import _ranks as ranks
from bnguard._errors import BnguardError
from bnguard._facts.findings import Finding, Report
from bnguard._stand_ins import StandIns

_STALE = 60.0
"""Seconds by which an outcome may be older than a rank's own start: the ranks do not start together."""

MOST_REFUSALS = 5
"""A script that swallows the stop is stopped again whenever it goes on, this often, and then its process ends."""

Result = Report | BnguardError


class Stop(BaseException):
    """Enough is seen; ``except Exception`` does not swallow it, and what the script does on its way out still runs."""

    def __init__(self) -> None:
        super().__init__("bnguard preflight has seen enough and stops here; let this exception pass")


@dataclass(frozen=True)
class Settings:
    """What the starting process asks for.

    Attributes:
        budget: seconds for looking further than one batch of every kind in the first epoch.
        deadline: when all must have ended, in seconds since the epoch of the clock.
        whole: leave nothing out as long as the budget lasts, whatever is known of the script.
        stand_ins: what may be stood in for.

    """

    budget: float
    deadline: float
    whole: bool = False
    stand_ins: StandIns = field(default_factory=StandIns)

    def as_text(self) -> str:
        """Return the settings as one word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Settings:
        """Read what ``as_text`` has made."""
        values = json.loads(text)
        return cls(**values | {"stand_ins": StandIns.of(values["stand_ins"])})


class Clock:
    """The time for looking further; it runs from the first batch or forward on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._began: float | None = None

    def begin(self) -> None:
        """Start the clock, once."""
        if self._began is None:
            self._began = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def over(self) -> bool:
        """Whether the budget is used."""
        return self.spent > self.settings.budget

    @property
    def late(self) -> bool:
        """Whether all must end now."""
        return time.time() > self.settings.deadline


@dataclass
class World:
    """A process among those that train together, as ``torch.distributed`` said during training."""

    rank: int | None = None
    size: int = 1


@dataclass(frozen=True)
class Outcome:
    """What one process came to.

    Attributes:
        result: the report, or why there is none.
        rank: None for the only or the main process.
        misled: whether the result may be due to the batches that were left out, so that a run without that is worth it.
        spare: whether nothing is missing without it, where another rank has trained.
        at: when, in seconds since the epoch of the clock. Of several errors the first is the cause of the others.
        wants_cuda: whether there is no report, perhaps only because the script was told that there is no CUDA device.
        trained: whether a training step was seen.

    """

    result: Result
    rank: int | None = None
    misled: bool = False
    spare: bool = False
    at: float = field(default_factory=time.time)
    wants_cuda: bool = False
    trained: bool = False


def write(folder: Path, outcome: Outcome) -> None:
    """Leave the outcome in the folder, whole or not at all; where the folder is gone nobody waits for it.

    Facts hold nothing of torch, except that the version is a text of torch's own kind: whoever reads the outcome would
    import torch for its sake.
    """
    if isinstance(outcome.result, Report) and outcome.result.torch is not None:
        outcome = replace(outcome, result=replace(outcome.result, torch=str(outcome.result.torch)))
    place = folder / f"{'main' if outcome.rank is None else outcome.rank}-{os.getpid()}"
    with suppress(FileNotFoundError):
        place.write_bytes(pickle.dumps(outcome))
        place.rename(place.with_suffix(".outcome"))


def left(folder: Path, since: float = 0.0) -> list[Path]:
    """Return the files of the outcomes of a run that began at this time (seconds since the epoch)."""
    found = []
    for place in folder.glob("*.outcome"):
        with suppress(FileNotFoundError):  # whoever leads was interrupted, and has removed it
            if place.stat().st_mtime >= since - _STALE:
                found.append(place)
    return found


def read(folder: Path, since: float = 0.0) -> list[Outcome]:
    """Return these outcomes, ranks in order, then the main process's.

    The folder is this user's alone: a temporary one, or one whose owner and mode were looked at (``ranks.own_folder``).
    Should that fail, a file can still ask for nothing but facts (``_Facts``).
    """
    found = [_Facts(io.BytesIO(place.read_bytes())).load() for place in left(folder, since)]
    return sorted(found, key=lambda o: (o.rank is None, o.rank or 0))


class _Facts(pickle.Unpickler):
    """Makes facts and our own errors, which do nothing when they are made, and refuses to look up anything else."""

    _MODULES = ("bnguard._facts.", "bnguard._remedies", "bnguard._errors", __name__)

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a class
        """Return the class of this name, if it is one of them."""
        if module.startswith(self._MODULES):
            found = super().find_class(module, name)
            is_fact = isinstance(found, type) and (is_dataclass(found) or issubclass(found, (Enum, BnguardError)))
            if is_fact and found.__module__.startswith(self._MODULES):
                return found
        raise pickle.UnpicklingError(f"an outcome holds no {module}.{name}")


# ------------------------------------------------------------------------------------ while it runs


def tell_stop(folder: Path) -> None:
    """Tell the other processes of the training that this one is about to be stopped: from then on it is mute."""
    with suppress(FileNotFoundError):
        (folder / f"{os.getpid()}.stopped").touch()


def was_left_alone(folder: Path) -> bool:
    """Whether another process was stopped, so that this one waits for it in vain, or gets an error for an answer."""
    places = (folder, *ranks.others(folder))
    return any(told.stem != str(os.getpid()) for place in places for told in place.glob("*.stopped"))


# ------------------------------------------------------------------------------------ several ranks


def merged(outcomes: Sequence[Outcome]) -> Report:
    """Return one report: the first rank's, with what the others know beyond it.

    Raises:
        BnguardError: no rank has a report, or one failed while the others see nothing that stops.

    """
    reports = [o.result for o in outcomes if isinstance(o.result, Report)]
    failed = [o for o in outcomes if isinstance(o.result, BnguardError)]
    counting = [o for o in failed if not (o.spare and reports)]
    if counting and all(r.ok for r in reports):
        raise _of_rank(min(counting, key=lambda o: o.at))
    return _with_absent(joined(reports), [o for o in failed if o.spare])


def _of_rank(outcome: Outcome) -> BnguardError:
    error = outcome.result
    assert isinstance(error, BnguardError)
    if not outcome.rank:
        return error
    return type(error)(f"rank {outcome.rank}: {error.message}", hint=error.hint, detail=error.detail)


def _with_absent(report: Report, absent: Sequence[Outcome]) -> Report:
    """Name the ranks that trained nothing among what was not reached."""
    if not absent:
        return report
    what = ["another rank" if o.rank is None else f"rank {o.rank}" for o in absent]
    entries = [{"what": w, "why": str(o.result)} for w, o in zip(what, absent, strict=True)]
    return replace(report, extra={**report.extra, "not_reached": [*report.extra.get("not_reached", ()), *entries]})


def joined(reports: Sequence[Report]) -> Report:
    """Return one report of several on the same training: each model, loader, forecast and finding once."""
    first = reports[0]
    if len(reports) == 1:
        return first
    extra: dict[str, Any] = {}
    for report in reversed(reports):
        extra.update(report.extra)
    return replace(
        first,
        models=_once((m for r in reports for m in r.models), lambda m: m.target),
        loaders=_once((x for r in reports for x in r.loaders), lambda x: x.name),
        forecasts=_forecasts(f for r in reports for f in r.forecasts),
        suggestions=_once((s for r in reports for s in r.suggestions), lambda s: (s.loader, s.kind, s.batch_size)),
        findings=_findings(f for r in reports for f in r.findings),
        extra=extra,
    )


def _once(items: Iterable[Any], key: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any fact and what tells it apart
    found: dict[object, Any] = {}
    for item in items:
        found.setdefault(key(item), item)
    return tuple(found.values())


def _forecasts(forecasts: Iterable[Any]) -> tuple[Any, ...]:
    """Keep one forecast for each model, loader and mode: that which stops first, else one that is not known."""
    found: dict[object, Any] = {}
    for one in forecasts:
        key = (one.model, one.loader, one.mode)
        known = found.setdefault(key, one)
        if _gravity(one) < _gravity(known):
            found[key] = one
    return tuple(found.values())


def _gravity(forecast: Any) -> tuple[int, int]:  # noqa: ANN401 - see above
    return {True: 0, None: 1, False: 2}[forecast.stops], forecast.step or 0


def _findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep one finding of each rule about a place; a loader's, where it depends on the model, at its most severe."""
    found: dict[object, Finding] = {}
    for one in findings:
        key = (one.code, one.model, one.layer, one.loader) if one.loader is None else (one.code, one.loader)
        known = found.setdefault(key, one)
        if one.severity > known.severity:
            found[key] = one
    return tuple(found.values())


def placed(found: Report, world: World) -> Report:
    """Say whose batches these are, where each rank has made loaders of its own and so may have other ones."""
    if world.rank is None or world.size < 2:
        return found
    mine = (world.rank, world.rank)
    note = f"this is what rank {world.rank} of {world.size} sees: no DistributedSampler says what the others get"
    alone = {f.name for f in found.loaders if f.world_size == 1}
    loaders = tuple(
        replace(f, streams=tuple(replace(s, ranks=mine) for s in f.streams)) if f.name in alone else f
        for f in found.loaders
    )
    forecasts = tuple(
        replace(f, rank=world.rank, ranks=mine, notes=(*f.notes, note)) if f.stops and f.loader in alone else f
        for f in found.forecasts
    )
    return replace(found, loaders=loaders, forecasts=forecasts)
