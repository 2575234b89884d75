"""``bnguard.check``: what a configuration declares, carried out, and put together to one report."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnguard._check.config import read_declarations
from bnguard._check.declarations import Declared, LoaderEntry
from bnguard._check.jobs import Audit, Done, Job, audit_of_numbers, jobs_of
from bnguard._errors import ConfigError, UsageError, did_you_mean
from bnguard._facts.findings import Report
from bnguard._facts.loaders import Suggestion
from bnguard._forecast.report import report_on
from bnguard._rules import CATALOGUE
from bnguard._untouched import surroundings_kept


def check(
    config: str | Path | None = None,
    *,
    entries: Collection[str] = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Carry out what a configuration declares: forecast, scan and audit, and run scripts with one batch of every kind.

    >>> report = bnguard.check()
    >>> report.ok, [f.step for f in report.forecasts if f.stops]

    Args:
        config: the file; None looks for ``bnguard.toml``, or ``[tool.bnguard]`` in ``pyproject.toml``, from the
            working folder upward. Paths in it are relative to its folder.
        entries: names of models, loaders and scripts; empty for all.
        jobs: processes that work at a time; None for as many as there are CPU cores, 1 for none but this one.
        progress: called with how many of how many pieces of work are done.

    Returns:
        The report, with the codes that the file selects and without those it ignores. What could not be carried out
        is in ``problems`` and hides nothing else.

    Raises:
        ConfigError: there is no configuration, or it holds what means nothing.
        UsageError: a name that is not declared, or a number of processes that means nothing.

    """
    what = read_declarations(config)
    return carry_out_all(what, entries, jobs, progress).filtered(what.select, what.ignore)


def carry_out_all(
    what: Declared,
    entries: Collection[str] = (),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Carry out what is declared; see ``check``. The report holds every finding."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} processes can do nothing", hint="--jobs 1 is this process alone")
    chosen = _chosen(what, entries) if entries else None
    numbers = {x.name: _audit(what, x) for x in what.loaders if x.target is None}
    todo = list(jobs_of(what, chosen, numbers))
    done = _all_done(todo, what.folder, jobs, progress)
    audits = {name: audit for one in done for name, audit in one.audits.items()}
    for loader in what.loaders:
        wanted = chosen is None or loader.entry in chosen or any(loader in job.loaders for job in todo)
        if wanted and loader.name in numbers:
            audits[loader.name] = numbers[loader.name]  # whatever became of the model
    return _assembled(done, {x.name: audits[x.name] for x in what.loaders if x.name in audits})


def _audit(what: Declared, entry: LoaderEntry) -> Audit:
    """Audit a loader that is given by numbers; a number that means nothing is an error of the configuration."""
    try:
        return audit_of_numbers(entry)
    except UsageError as error:
        raise ConfigError(f"{what.place_of(entry.entry)}: {error.message}", hint=error.hint) from error


def _chosen(what: Declared, names: Collection[str]) -> set[str]:
    """Return the entries that are meant: ``net``, or ``models.net`` where a loader has the same name."""
    known = [*(x.entry for x in what.models), *(x.entry for x in what.loaders), *(x.entry for x in what.scripts)]
    found: set[str] = set()
    for name in names:
        meant = {entry for entry in known if name in (entry, entry.partition(".")[2])}
        if not meant:
            short = [entry.partition(".")[2] for entry in known]
            hint = did_you_mean(name, [*short, *known]) or f"declared are {', '.join(known)}"
            raise UsageError(f"{what.file.name} declares no entry {name!r}", hint=hint)
        found |= meant
    return found


def _all_done(
    todo: Sequence[Job], folder: Path, jobs: int | None, progress: Callable[[int, int], None] | None
) -> list[Done]:
    finished = 0

    def tell() -> None:
        nonlocal finished
        finished += 1
        if progress is not None:
            progress(finished, len(todo))

    if not todo:
        return []
    if progress is not None:
        progress(0, len(todo))
    if jobs == 1:
        return list(_one_by_one(todo, folder, tell))
    from bnguard._check.pool import cores, in_parallel

    if sum(job.script is not None for job in todo) > 1:
        todo = [replace(job, label=job.script.name if job.script else None) for job in todo]
    return in_parallel(todo, folder, cores() if jobs is None else jobs, tell)


def _one_by_one(todo: Sequence[Job], folder: Path, tell: Callable[[], None]) -> Iterator[Done]:
    from bnguard._check.work import carry_out

    with surroundings_kept():
        os.chdir(folder)
        for job in todo:
            yield carry_out(job)
            tell()


def _assembled(done: Sequence[Done], audits: Mapping[str, Audit]) -> Report:
    """Return the report on everything that was done.

    ``audits`` are in the order of the configuration; loaders that no forecast is of are judged by themselves.
    """
    forecasts = [f for d in done for f in d.forecasts]
    joined = {f.fact.loader for f in forecasts}
    facts = [fact for audit in audits.values() for fact in audit.facts]
    fed, alone = [f for f in facts if f.name in joined], [f for f in facts if f.name not in joined]
    scanned = [m for d in done for m in d.scanned]
    torch = next((d.torch for d in done if d.torch), None)
    report = report_on(forecasts, fed, _suggestions(audits.values(), joined), "check", torch=torch)
    report = replace(
        report,
        models=(*report.models, *scanned),
        loaders=(*report.loaders, *alone),
        suggestions=(*report.suggestions, *_suggestions(audits.values(), {f.name for f in alone})),
        findings=(*report.findings, *CATALOGUE.judge(models=scanned, loaders=alone)),
        problems=tuple(dict.fromkeys(p for d in done for p in d.problems)),
    )
    for one in done:
        if one.script is not None:
            report = _with(report, _under(one.name, one.script))
    entries = [entry for one in done for entry in (*one.stood_in, *_stood_in(one))]
    stood_in = [entry for i, entry in enumerate(entries) if entry not in entries[:i]]
    return replace(report, extra={**report.extra, "stood_in": stood_in}) if stood_in else report


def _stood_in(done: Done) -> Iterable[Mapping[str, str]]:
    """Return what stood in for what in a script, under its name."""
    found = done.script.extra.get("stood_in", ()) if done.script else ()
    return [{**entry, "what": f"{done.name}: {entry['what']}"} for entry in found]


def _suggestions(audits: Iterable[Audit], loaders: Collection[str]) -> list[Suggestion]:
    return [s for audit in audits for s in audit.suggestions if s.loader in loaders]


def _with(report: Report, more: Report) -> Report:
    fields = ("models", "loaders", "suggestions", "forecasts", "findings")
    joined: dict[str, Any] = {name: (*getattr(report, name), *getattr(more, name)) for name in fields}
    return replace(report, torch=report.torch or more.torch, **joined)


def _under(name: str, report: Report) -> Report:
    """Put the script's name before those of its models and loaders: two scripts may call theirs alike."""

    def named(of: str | None) -> str | None:
        return None if of is None else f"{name}.{of}"

    return replace(
        report,
        models=[replace(m, target=f"{name}.{m.target}") for m in report.models],
        loaders=[replace(x, name=f"{name}.{x.name}") for x in report.loaders],
        suggestions=[replace(s, loader=f"{name}.{s.loader}") for s in report.suggestions],
        forecasts=[replace(f, model=f"{name}.{f.model}", loader=f"{name}.{f.loader}") for f in report.forecasts],
        findings=[replace(f, model=named(f.model), loader=named(f.loader)) for f in report.findings],
    )
