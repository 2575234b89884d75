"""Carrying out one job: building, tracing, auditing. Whatever the user's code raises becomes a problem of its entry."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from bnguard._check.declarations import LoaderEntry, ModelEntry, ScriptEntry
from bnguard._check.jobs import Audit, Done, Job, problem, under_name
from bnguard._errors import BnguardError
from bnguard._facts.findings import Problem
from bnguard._facts.models import ModelFact
from bnguard._forecast.report import Forecast
from bnguard._forecast.stand_ins import resting_on
from bnguard._stand_ins import StandIns, StoodIn, cuda_standing_in, standing_in
from bnguard._stand_ins.request import samples, told
from bnguard._untouched import paused_gc, quiet, untouched_process

_IN_TOML = ("input = ", '"3,224,224"')
"""How a configuration gives the input of a model."""


def carry_out(job: Job) -> Done:
    """Do one job in this process; the working folder is that of the configuration.

    Errors of the user's code end up in ``problems``, never here.
    """
    if job.script is not None:
        return _script(job.script, job.label, cuda_stand_in=job.cuda_stand_in)
    if "torch" not in sys.modules:
        from bnguard._import_torch import import_torch

        import_torch()
    import torch

    # one model is not worth walking all others' facts for
    with untouched_process(), paused_gc(), cuda_standing_in(job.cuda_stand_in) as stood_in:
        done = _Bench(job).work()
    return replace(done, torch=torch.__version__, stood_in=[*told(stood_in), *done.stood_in])


class _Bench:
    """One model and its loaders under work."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._audits: dict[str, Audit] = {}
        self._problems: list[Problem] = []
        self._stand_ins = ExitStack()
        self._stood_in: list[list[StoodIn]] = []

    def work(self) -> Done:
        """Audit the loaders, then forecast the model on them; scan it where none feeds it."""
        with self._stand_ins:  # what stands in for data is asked for samples later
            return self._work()

    def _work(self) -> Done:
        loaders = [one for entry in self._job.loaders for one in self._audited(entry)]
        model = self._job.model
        forecasts: list[Forecast] = []
        scanned: list[ModelFact] = []
        if model is not None:
            try:
                if not self._job.loaders:
                    scanned += _scanned(model)
                elif loaders:
                    forecasts += _forecast(model, loaders)
            except BnguardError as error:
                self._problems.append(problem(model.entry, error))
        stood_in = tuple(dict.fromkeys(one for found in self._stood_in for one in found))
        forecasts = [f._replace(fact=resting_on(stood_in, f.fact)) for f in forecasts]
        return Done(
            tuple(forecasts), tuple(scanned), self._audits, problems=tuple(self._problems), stood_in=told(stood_in)
        )

    def _audited(self, entry: LoaderEntry) -> list[Any]:
        from bnguard._forecast.request import OneLoader

        known = self._job.audits.get(entry.name)
        if known is not None:
            self._audits[entry.name] = known
            return [OneLoader(fact, None) for fact in known.facts]
        try:
            wanted = StandIns(fake_data=samples(entry.fake_data))
            self._stood_in.append(self._stand_ins.enter_context(standing_in(wanted)))
            audit, loaders = _live(entry, read=self._job.model is not None)
        except BnguardError as error:
            self._problems.append(problem(entry.entry, error))
            return []
        self._audits[entry.name] = audit
        return loaders


def _live(entry: LoaderEntry, *, read: bool) -> tuple[Audit, list[Any]]:
    """Load and audit a live loader, or several in a dict; return them too.

    Where a model is fed they are read, if their samplers alone do not say what comes.
    """
    from bnguard._audit_loader import audit_loader
    from bnguard._audit_loader.live import live_loaders
    from bnguard._forecast.request import OneLoader, with_read
    from bnguard._targets import load_object

    assert entry.target is not None, "loaders by numbers are audited before"
    with quiet():
        loaded = load_object(entry.target, argv=entry.args, stubs=entry.stubs)
        lives = [live for _, live in live_loaders(loaded)]
        options: dict[str, Any] = dict(entry.options)
        if len(lives) == 1 and "names" not in options:
            options["name"] = entry.name
        report = audit_loader(loaded, **options)
    if not read:
        return under_name(entry, report.loaders, report.suggestions), list(map(OneLoader, report.loaders, lives))
    found = with_read(loaded, report.loaders, report.suggestions, streams=bool(options.get("count")), progress=_silent)
    audit = under_name(entry, tuple(one.fact for one in found.each), found.suggestions)
    return audit, [one._replace(fact=fact) for one, fact in zip(found.each, audit.facts, strict=True)]


def _forecast(entry: ModelEntry, loaders: list[Any]) -> list[Forecast]:
    from bnguard._forecast.request import ForecastSettings, refuse_checkpoint
    from bnguard._trace.models import open_models

    refuse_checkpoint(entry.target)
    shared = ForecastSettings(_recipe(entry), loaders, entry.keep_modes, entry.device, _silent, _IN_TOML)
    found: list[Forecast] = []
    settings = _settings(entry.settings)
    with open_models(
        entry.target, mode=None, device=entry.device, settings=settings, stubs=entry.stubs, argv=entry.args
    ) as models:
        for model in models:
            found += shared.of(replace(model, target=_name(entry, model.target)))
    return [f._replace(fact=replace(f.fact, allow_unknown=entry.allow_unknown)) for f in found]


def _scanned(entry: ModelEntry) -> list[ModelFact]:
    from bnguard._scan.scanner import scan

    report = scan(
        entry.target,
        _recipe(entry),
        batch_size=entry.batch_size,
        mode=entry.mode,
        device=entry.device,
        settings=_settings(entry.settings),
        stubs=entry.stubs,
        argv=entry.args,
    )
    return [replace(fact, target=_name(entry, fact.target)) for fact in report.models]


def _name(entry: ModelEntry, target: str) -> str:
    """Return the entry's name; of the models of a whole file each adds its own."""
    return entry.name if target == entry.target else f"{entry.name}.{target.rpartition(':')[2]}"


def _recipe(entry: ModelEntry) -> Any:  # noqa: ANN401 - Inputs or None
    from bnguard._models.inputs import SpecInputs, parse_input

    return SpecInputs(tuple(map(parse_input, entry.inputs)), "given") if entry.inputs else None


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return constructor arguments; a table among them is read by attribute or by key."""
    from bnguard._models.named import Namespace

    return {k: Namespace(**_settings(v)) if isinstance(v, dict) else v for k, v in table.items()}


def _silent(_: str) -> None:
    """Take a line about something slow: the progress bar says enough."""


def _script(entry: ScriptEntry, label: str | None, *, cuda_stand_in: bool) -> Done:
    """Run a script with one batch of every kind, in a process of its own."""
    from bnguard._preflight.launch import preflight

    try:
        report = preflight(
            entry.program,
            entry.args,
            module=entry.module,
            budget=entry.budget,
            timeout=entry.timeout,
            stubs=entry.stubs,
            fake_data=entry.fake_data,
            label=label,
            cuda_stand_in=cuda_stand_in,
        )
    except BnguardError as error:
        return Done(problems=(problem(entry.entry, error),))
    if entry.allow_unknown:
        report = replace(report, forecasts=[replace(f, allow_unknown=True) for f in report.forecasts])
    return Done(script=report, name=entry.name)
