"""Which format goes where: the pairs that repeated ``--format`` and ``--output`` mean."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from bnguard.errors import UsageError
from bnguard.report.render import FORMATS, Destination

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDINGS = {".json": "json", ".sarif": "sarif", ".xml": "junit", ".html": "html", ".htm": "html"}
_STDOUT = Path("-")


def destinations(formats: Sequence[str], outputs: Sequence[Path]) -> tuple[Destination, ...]:
    """Pair the k-th format with the k-th output.

    Args:
        formats: names of ``FORMATS``; an output without one gets the format that its ending stands for, else console.
        outputs: files, and ``-`` for stdout; a format without one goes to stdout.

    Raises:
        UsageError: a format is not known, or two of them would end in one place.

    """
    for fmt in formats:
        if fmt not in FORMATS:
            raise UsageError(f"--format {fmt!r} is not known", hint=f"one of {', '.join(FORMATS)}")
    pairs = list(zip_longest(formats, outputs)) or [("console", None)]
    made = tuple(Destination(fmt or of_ending(file), None if file in (None, _STDOUT) else file) for fmt, file in pairs)
    _refuse_crossed(made)
    _refuse_shared(made)
    return made


def of_ending(file: Path | None) -> str:
    """Return the format that a file's name asks for."""
    return _ENDINGS.get(file.suffix.lower(), "console") if file else "console"


def _refuse_crossed(made: Sequence[Destination]) -> None:
    """Refuse ``--format console --format sarif --output a.sarif``: it would put the console's text into ``a.sarif``."""
    for to, file in made:
        wanted = of_ending(file)
        if file and wanted not in ("console", to) and Destination(wanted) in made:
            raise UsageError(
                f"{file} would get the {to} report, and {wanted} would go to stdout",
                hint=f"the k-th --output is for the k-th --format: give --output - for {to}, or name {wanted} first",
            )


def _refuse_shared(made: Sequence[Destination]) -> None:
    printed = [to for to, file in made if file is None]
    if len(printed) > 1:
        raise UsageError(
            f"{' and '.join(printed)} would both go to stdout", hint="give all formats but one an --output of their own"
        )
    seen: set[Path] = set()
    for _, file in made:
        if file and file.resolve() in seen:
            raise UsageError(f"two reports would go to {file}", hint="give each format an --output of its own")
        if file:
            seen.add(file.resolve())
