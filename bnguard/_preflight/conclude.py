"""From what was seen of a script to the report: shapes add the explanation and what was not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bnguard._diagnose.classify import classify
from bnguard._diagnose.diagnose import find_failure
from bnguard._facts.diagnosis import Diagnosis, headline
from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.loaders import LoaderFact
from bnguard._facts.norm_kinds import KINDS
from bnguard._forecast.join import Feed, foresee
from bnguard._forecast.report import Forecast, report_on
from bnguard._models.layers import find_layers
from bnguard._models.wrappers import finds_no_device
from bnguard._preflight.naming import Names, loader_names, model_names
from bnguard._preflight.outcome import placed
from bnguard._preflight.passes import Pass, SeenLoader
from bnguard._preflight.recorder import Call, Recorder, Use
from bnguard._preflight.seen_loaders import Audit, audit
from bnguard._rules.runtime import of_failure
from bnguard._trace.models import open_live_model
from bnguard._untouched import untouched_process
from bnguard._usercode import is_failure, one_line

NO_LOADER = "(no DataLoader)"
"""What stands for the loader where a script cuts its batches itself."""

GATHERED = "its rows are gathered from batches, not all of which could be run within the time"


MOST_DEVICES = 8
"""Over so many devices at most DataParallel is taken to spread a batch, where the script does not say over how many."""


@dataclass(frozen=True)
class Failed:
    """What ended the script: an error of a normalisation layer, and the root's call in which it came, if any."""

    error: Exception
    diagnosis: Diagnosis
    call: Call | None
    model: nn.Module | None = None


def failure(recorder: Recorder, error: BaseException | None) -> Failed | None:
    """Return what made the script end, None where no normalisation layer did.

    A script that catches the error and ends with an exit code, or raises another, is ended by it all the same, be it
    that it goes on to other work before.
    """
    found = None if error is None else find_failure(error)
    if found is not None and found[1].code is not None:
        known = {id(e): call for e, call in recorder.raised}
        call = known.get(id(found[0]), recorder.latest)
        if call is not None and _stands_alone(found[1], call):
            return Failed(*found, None, call.use.model)
        return Failed(*found, call)
    if isinstance(error, SystemExit) and is_failure(error) and recorder.raised:
        return failure(recorder, recorder.raised[-1][0])
    return None


def _stands_alone(diagnosis: Diagnosis, call: Call) -> bool:
    """Whether the failed call came after an epoch's last batch, and nothing led from a loader to it."""
    at = diagnosis.situation
    ended = call.batch is not None and call.batch.run.ended
    return ended and at is not None and at.fed is False and at.looped is False


def report(recorder: Recorder, names: Names, failed: Failed | None) -> Report:
    """Return the report on every model with every loader that the script used it with."""
    told = _Told(recorder, names, failed)
    uses = [u for u in told.uses() if told.fact(u) is not None]
    asked = dict.fromkeys((*(u.loader for u in uses), *(s for s in recorder.loaders if s.empty)))
    audits = {s: audit for s in asked if s is not None and (audit := told.audit(s))}
    forecasts = [f for u in uses if (f := told.forecast(u, audits.get(u.loader))) is not None]  # type: ignore[arg-type]
    if failed is not None and failed.call is None:
        forecasts.insert(0, Forecast(told.failed_alone(), None, two_hold=False))
    found = _calmed(
        report_on(
            forecasts,
            [found.fact for found in audits.values()],
            [way for found in audits.values() for way in found.suggestions],
            "preflight",
            torch=torch.__version__,
        )
    )
    extra: dict[str, Any] = {"not_reached": list(told.not_reached()), "left_out": list(told.left_out())}
    if failed is not None:
        extra["diagnosis"] = failed.diagnosis.to_dict()
        found = _with_finding(found, failed)
    return placed(replace(found, extra=extra), recorder.world)


class _Told:
    """The names of what was used, and what is to be said of each use."""

    def __init__(self, recorder: Recorder, names: Names, failed: Failed | None) -> None:
        self.recorder = recorder
        self.failed = failed
        self.loaders = loader_names(recorder, names)
        self.models = model_names(recorder, names)
        self.names = names

    # ------------------------------------------------------------------------------------- uses

    def uses(self) -> list[Use]:
        """Return one use of each model with each loader in each mode; folds and stages that are alike are one."""
        found: dict[object, Use] = {}
        for use in self.recorder.uses:
            key = (self.models[use.model], self.loader(use), use.mode)
            known = found.setdefault(key, use)
            if self._gravity(use) < self._gravity(known):
                found[key] = use
        return list(found.values())

    def loader(self, use: Use) -> str:
        """Return the name of the loader of a use."""
        return NO_LOADER if use.loader is None else self.loaders[use.loader]

    def _gravity(self, use: Use) -> int:
        fact = self.fact(use)
        return 3 if fact is None else {True: 0, None: 1, False: 2}[fact.stops]

    def fact(self, use: Use) -> ForecastFact | None:
        """Return what was seen of a use; None where the script stopped before it was through."""
        steps = None if use.loader is None else use.loader.longest.steps
        fact = ForecastFact(
            self.models[use.model],
            self.loader(use),
            use.mode,
            stops=False,
            steps=steps,
            sizes=_sizes(use),
            ground="seen",
            notes=tuple(self._caught(use)),
        )
        failed = self.failed
        if use.incomplete:
            return replace(fact, stops=None, steps=None, sizes=(), unknown=GATHERED)
        if failed is not None and failed.call is not None and failed.call.use is use:
            return self._stopping(fact, failed, failed.call)
        if use.loader is not None and use.loader.unproved is not None:
            return replace(fact, stops=None, unknown=_unproved(use.loader))
        if self._through(use):
            return fact
        if failed is not None:
            return None
        return replace(fact, stops=None, unknown=f"not all of it was run: {self.recorder.why}")

    def _through(self, use: Use) -> bool:
        """Whether the script had all the batches that it takes of this loader in an epoch."""
        if self.failed is None and not self.recorder.stopped:
            return True
        if use.loader is None:
            return False
        passes = use.loader.passes
        return any(p.ended for p in passes) or len([p for p in passes if p.given]) > 1

    def _stopping(self, fact: ForecastFact, failed: Failed, call: Call) -> ForecastFact:
        at = _size_at(failed, call.size)
        run = None if call.batch is None else call.batch.run
        sizes = (at, *(s for s in fact.sizes if s.batch_size != at.batch_size))
        if run is not None and run.unproved is not None and run.left_out:
            why = f"{run.unproved}, so whether step {call.step:,} comes is not known; {at.label} {at.sees} there"
            return replace(fact, stops=None, unknown=why, sizes=sizes)
        return replace(
            fact,
            stops=True,
            epoch=1 if run is None else run.number,
            step=None if run is None else call.step,
            steps=None if run is None else run.steps,
            batch_size=call.size,
            rank=failed.diagnosis.rank or 0,
            at=at,
            sizes=tuple(sorted(sizes, key=lambda s: -s.batch_size)),
        )

    def failed_alone(self) -> ForecastFact:
        """Return the fact for a failure outside the forward of any model that was trained with a loader."""
        assert self.failed is not None
        if self.recorder.rows_are_missing:
            return ForecastFact("the model", NO_LOADER, "train", None, unknown=GATHERED, ground="seen")
        size = (self.failed.diagnosis.shape or (0,))[0]
        at = _size_at(self.failed, size)
        model = "the model" if self.failed.model is None else self.models[self.failed.model]
        return ForecastFact(model, NO_LOADER, "train", True, batch_size=size, rank=0, at=at, sizes=(at,), ground="seen")

    def _caught(self, use: Use) -> Iterator[str]:
        """Say where a normalisation layer has raised and the script went on."""
        mine = [
            (e, c) for e, c in self.recorder.raised if c.use is use and (not self.failed or self.failed.error is not e)
        ]
        known = [c for e, c in mine if classify(str(e), type(e).__name__).code is not None]
        if known:
            yield (
                f"a normalisation layer raises at step {known[0].step:,} of {self.loader(use)}, and the script catches "
                f"that and goes on"
            )

    # ----------------------------------------------------------------------------- loaders and shapes

    def audit(self, record: SeenLoader, devices: int = 1) -> Audit | None:
        """Return what is known of a loader's batches."""
        variable, called = self.names.variable(record.loader), self._called_at_the_failure(record)
        if called is not None and (variable is None or called.endswith(f".{variable}")):  # an attribute
            variable = called
        return audit(record, self.recorder.uses, self.loaders[record], variable, devices)

    def _called_at_the_failure(self, record: SeenLoader) -> str | None:
        """Return what the loop that stopped calls its loader, such as ``self.loaders['train']``."""
        failed = self.failed
        at = None if failed is None or failed.call is None else failed.diagnosis.situation
        return at.loader if at and failed and failed.call and failed.call.use.loader is record else None

    def forecast(self, use: Use, audit: Audit | None) -> Forecast | None:
        """Join what was seen of a use with what its shapes say."""
        seen = self.fact(use)
        if seen is None:
            return None
        foreseen = None if audit is None else _foreseen(use, audit.fact, seen.model, cuda=self.recorder.cuda)
        if foreseen is None:
            return Forecast(seen, None, two_hold=seen.at is None or seen.at.cause == "one-value")
        fact = self._on_devices(use, _joined(seen, foreseen.fact))
        wrong = seen.stops is False and foreseen.fact.stops is not False
        return foreseen._replace(fact=fact, model=None if wrong else foreseen.model)

    def _on_devices(self, use: Use, fact: ForecastFact) -> ForecastFact:
        """Weigh how many devices there will be, where DataParallel is to spread each batch over all it finds."""
        if fact.stops is not False or use.loader is None or not finds_no_device(use.model):
            return fact
        for devices in range(2, MOST_DEVICES + 1):
            spread = self.audit(use.loader, devices)
            other = spread and _foreseen(use, spread.fact, fact.model, cuda=self.recorder.cuda)
            if other is not None and other.fact.stops:
                found = "DataParallel spreads each batch over the devices that it finds, and found none here"
                place = f"{other.fact.place} at {other.fact.layer}"
                why = f"it does not stop on one device, and stops on {devices} at {place}: {found}"
                return replace(fact, stops=None, unknown=why)
        return fact.assuming(f"no more than {MOST_DEVICES} devices for DataParallel")

    # ------------------------------------------------------------------------------ what is missing

    def not_reached(self) -> Iterator[dict[str, str]]:
        """Name what the script would have come to, had it not ended here."""
        why = self.recorder.why or ("training stops before it" if self.failed else "")
        for record in self.recorder.loaders:
            runs = [p for p in record.passes if p.given]
            if self.recorder.why is not None and runs:
                yield {"what": f"{self.loaders[record]}: what comes after {_passes(runs)}", "why": why}
        for loader, source in self.recorder.untouched():
            name = self.names.of(loader) or (f"loader of {source}" if source else None)
            if name is not None:
                yield {"what": name, "why": f"no batch was asked of it{f': {why}' if why else ''}"}

    def left_out(self) -> Iterator[dict[str, str]]:
        """Name the batches that were not given."""
        for record in self.recorder.loaders:
            for run in record.passes[:1]:
                if run.left_out:
                    of = f" of {run.steps:,}" if run.steps else ""
                    what = f"{run.left_out:,}{of} batches of {self.loaders[record]} in its first epoch"
                    yield {"what": what, "why": run.unproved or "a batch of each size was run"}


def _passes(runs: Sequence[Pass]) -> str:
    return f"{len(runs):,} epochs" if len(runs) > 1 else "its first epoch" if runs[0].ended else "its first batches"


def _unproved(record: SeenLoader) -> str:
    run = next(p for p in record.passes if p.unproved)
    of = f" of {run.steps:,}" if run.steps else ""
    return f"{len(run.given):,}{of} batches were run, and none stopped, but {run.unproved}"


def _sizes(use: Use) -> tuple[SizeFact, ...]:
    return tuple(
        SizeFact(size, stops=False, single=single) for size, single in sorted(use.sizes.items(), reverse=True) if size
    )


def _size_at(failed: Failed, size: int) -> SizeFact:
    d = failed.diagnosis
    layer = d.layer if d.layer is not None else d.candidates[0] if len(d.candidates) == 1 else None
    return SizeFact(
        size,
        True,
        layer=layer,
        layer_type=d.layer_type,
        num_features=d.num_features,
        source=d.source,
        error=type(failed.error).__name__,
        message=one_line(failed.error),
        shape=d.shape,
        cause="one-value" if d.cause == "one-value-per-channel" else "refused",
        failing=() if layer is None else (layer,),
        situation=d.situation,
    )


def _foreseen(use: Use, loader: LoaderFact, name: str, *, cuda: bool) -> Forecast | None:
    """Return what the shapes say of this loader with the model in the modes that were seen; None where nothing."""
    if not use.recipes or not (find_layers(use.model) or loader.steps == 0):
        return None
    for module, flag in use.modes.items():
        module.training = flag
    device = "cuda" if cuda or any(p.is_cuda for p in use.model.parameters()) else "cpu"
    try:
        with untouched_process():
            model = replace(open_live_model(use.model, None, device), target=name)
            (found,) = foresee(model, [Feed(loader, tuple(use.recipes), None)], device, lambda _: None)
    except Exception:  # noqa: BLE001 - what was seen stands by itself; the user's code may raise anything on shapes
        return None
    return found


def _joined(seen: ForecastFact, foreseen: ForecastFact) -> ForecastFact:
    """Return what was seen, with what shapes say beyond it: ranks, replicas, workers, the other layers that fail."""
    notes = (*seen.notes, *foreseen.notes)
    if seen.stops and foreseen.stops and (seen.step, seen.epoch) == (foreseen.step, foreseen.epoch):
        alike = seen.layer in (None, foreseen.layer) and foreseen.at is not None
        at = _with_what_was_seen(foreseen.at, seen.at) if alike else seen.at
        sizes = tuple(at if at is not None and s.batch_size == at.batch_size else s for s in foreseen.sizes)
        return replace(foreseen, ground="seen", at=at, sizes=sizes, notes=notes)
    if foreseen.stops is not None and seen.stops is not None and foreseen.stops != seen.stops:
        says = f"stop at step {foreseen.step:,} in {foreseen.at.label}" if foreseen.at else "not stop"
        notes = (*notes, f"on shapes alone this would {says}; what was run counts")
    if seen.stops is False and foreseen.stops is False:
        return replace(seen, sizes=foreseen.sizes or seen.sizes, steps=seen.steps or foreseen.steps, notes=notes)
    return replace(seen, notes=notes)


def _with_what_was_seen(foreseen: SizeFact | None, seen: SizeFact | None) -> SizeFact | None:
    """Return what shapes say of a size, with the circumstances and the line that only the run can tell."""
    if foreseen is None or seen is None:
        return foreseen
    return replace(foreseen, situation=seen.situation, source=foreseen.source or seen.source)


def _calmed(found: Report) -> Report:
    """Make less of what a loader's plan or a model would be blamed for, where the script was seen not to stop.

    An error is what stops: the rest of a model's configuration is a warning, of a loader's plan a note. Where no model
    got any batch, that is what is wrong.
    """
    if not found.forecasts:
        return found
    stopping = {x for f in found.forecasts if f.stops for x in (f.model, f.loader)}
    safe = {f.loader for f in found.forecasts} - {f.loader for f in found.forecasts if f.stops is not False}

    def calmed(finding: Finding) -> Finding:
        if finding.severity is not Severity.ERROR or (finding.loader or finding.model) in stopping:
            return finding
        if finding.loader in safe:
            return replace(finding, severity=Severity.NOTE, remedies=())
        return replace(finding, severity=Severity.WARNING)

    return replace(
        found,
        findings=tuple(map(calmed, found.findings)),
        suggestions=tuple(way for way in found.suggestions if way.loader not in safe),
    )


def _with_finding(found: Report, failed: Failed) -> Report:
    """Add the run-time finding where no rule on a loader says what stops."""
    stops = next((f for f in found.forecasts if f.stops), None)
    told = any(f.severity is Severity.ERROR and stops is not None and f.loader == stops.loader for f in found.findings)
    d = failed.diagnosis
    if told or d.code is None or stops is None:
        return found
    same = [f for f in found.findings if (f.model, f.layer) == (stops.model, d.layer) and f.severity is Severity.ERROR]
    if same and d.kind and not KINDS[d.kind].crosses_samples:
        return found  # a rule on that kind of layer says it, at any batch size
    at = f"{stops.place} of {stops.loader}" if stops.place else "this run"
    given = None if stops.loader == NO_LOADER else stops.loader
    finding = of_failure(d, headline(d), model=stops.model, loader=given, at=at)
    return replace(found, findings=(finding, *(f for f in found.findings if f not in same)))
