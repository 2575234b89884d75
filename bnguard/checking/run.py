"""``bnguard.check``: what a configuration declares, carried out, and put together to one report."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bnguard.checking.assemble import assembled
from bnguard.checking.config import declared
from bnguard.checking.declared import Declared, LoaderEntry
from bnguard.checking.jobs import Audit, Done, Job, audit_of_numbers, jobs_of
from bnguard.errors import ConfigError, UsageError
from bnguard.findings import Report


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
    what = declared(config)
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
    return assembled(done, {x.name: audits[x.name] for x in what.loaders if x.name in audits})


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
            near = difflib.get_close_matches(name, [*short, *known], n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"declared are {', '.join(known)}"
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
    from bnguard.checking.pool import cores, in_parallel

    return in_parallel(todo, folder, cores() if jobs is None else jobs, tell)


def _one_by_one(todo: Sequence[Job], folder: Path, tell: Callable[[], None]) -> Iterator[Done]:
    from bnguard.checking.work import carry_out

    with _working_in(folder):
        for job in todo:
            yield carry_out(job)
            tell()


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
