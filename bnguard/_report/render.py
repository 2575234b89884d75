"""From a report and the reporting options to texts, in files or on stdout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bnguard._errors import UsageError
from bnguard._facts.findings import FAIL_ON
from bnguard._report import stdout
from bnguard._report.formats import FORMATS, Context, format_of, reporter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._facts.findings import Report

_STDOUT = Path("-")


class Destination(NamedTuple):
    """One text to make of the report; ``output`` is None for stdout, ``variable`` names a file that is appended to."""

    format: str = "console"
    output: Path | None = None
    variable: str | None = None


@dataclass(frozen=True)
class ReportOptions:
    """What every reporting command accepts; see docs/reference/cli.md."""

    destinations: tuple[Destination, ...] = (Destination(),)
    fail_on: str = "error"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    quiet: bool = False
    asked: str = ""


def emit(report: Report, options: ReportOptions) -> int:
    """Render the report wherever the options say, every format from the same findings, and return the exit code.

    The files are written before anything is printed, each whole or not at all; companions of a format come last.

    Raises:
        UsageError: a file or stdout cannot be written.

    """
    shown = report.filtered(options.select, options.ignore)
    code = _exit_code(shown, options.fail_on)
    context = Context(shown, code, options.quiet, asked=options.asked)
    files = [place for place in options.destinations if place.output is not None]
    texts = [reporter(place.format).render(context) for place in files]
    for place, text in zip(files, texts, strict=True):
        _write(place, text)
    for place in options.destinations:
        if place.output is None:
            _print(place.format, context)
    for place in _companions(options.destinations):
        _write(place, reporter(place.format).render(context))
    return code


def _exit_code(report: Report, fail_on: str) -> int:
    """Return 2 where something could not be carried out, or nothing was found and a training loader is not known."""
    if report.problems:
        return 2
    if report.worst >= FAIL_ON[fail_on]:
        return 1
    return 2 if any(f.unknown_in_training for f in report.forecasts) else 0


def render_as(
    name: str,
    report: Report,
    exit_code: int | None = None,
    *,
    quiet: bool = False,
    width: int = 100,
    asked: str = "",
) -> str:
    """Return the report as one text; see ``Context``."""
    return reporter(name).render(Context(report, exit_code, quiet, width, asked))


def _print(name: str, context: Context) -> None:
    show = getattr(reporter(name), "show", None)
    if show is None:
        stdout.write(reporter(name).render(context))
        return
    with stdout.checked():
        show(context)


def _write(place: Destination, text: str) -> None:
    from bnguard._whole_file import write_whole

    assert place.output is not None
    data = text.encode(errors="replace")
    try:
        if place.variable is None:
            write_whole(place.output, data)
        else:
            with place.output.open("ab") as file:
                file.write(data)
    except OSError as error:
        hint = f"{place.variable} names the file; unset it to do without" if place.variable else None
        raise UsageError(
            f"cannot write {place.output}: {error.strerror or error}",
            hint=hint or "name a file in a folder that can be written",
        ) from error


def destinations(formats: Sequence[str], outputs: Sequence[Path]) -> tuple[Destination, ...]:
    """Pair the k-th format with the k-th output.

    Args:
        formats: names of ``FORMATS``; an output without one gets the format that its ending stands for, else console.
        outputs: files, and ``-`` for stdout; a format without one goes to stdout.

    Raises:
        UsageError: a format is not known, or two of them would end in one place.

    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"--format {name!r} is not known", hint=f"one of {', '.join(FORMATS)}")
    pairs = list(zip_longest(formats, outputs)) or [("console", None)]
    made = tuple(Destination(name or format_of(to), None if to in (None, _STDOUT) else to) for name, to in pairs)
    _refuse_crossed(made)
    _refuse_shared(made)
    return made


def _refuse_crossed(made: Sequence[Destination]) -> None:
    """Refuse ``--format console --format sarif --output a.sarif``: it would put the console's text into ``a.sarif``."""
    for place in made:
        wanted = format_of(place.output)
        if place.output and wanted not in ("console", place.format) and Destination(wanted) in made:
            raise UsageError(
                f"{place.output} would get the {place.format} report, and {wanted} would go to stdout",
                hint="the k-th --output is for the k-th --format: "
                f"give --output - for {place.format}, or name {wanted} first",
            )


def _refuse_shared(made: Sequence[Destination]) -> None:
    printed = [place.format for place in made if place.output is None]
    if len(printed) > 1:
        raise UsageError(
            f"{' and '.join(printed)} would both go to stdout", hint="give all formats but one an --output of their own"
        )
    seen: set[Path] = set()
    for file in (place.output for place in made if place.output):
        if file.resolve() in seen:
            raise UsageError(f"two reports would go to {file}", hint="give each format an --output of its own")
        seen.add(file.resolve())


def _companions(made: Sequence[Destination]) -> Iterator[Destination]:
    """Yield what goes with the formats that are asked for, once each."""
    for beside in dict.fromkeys(getattr(reporter(place.format), "COMPANION", None) for place in made):
        file = os.environ.get(beside.variable) if beside else None
        if beside and file:
            yield Destination(beside.format, Path(file), beside.variable)
