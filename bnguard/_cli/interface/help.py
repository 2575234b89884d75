"""The help of a command: two columns that wrap and cut no word, examples, exit codes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows = tuple[tuple[str, str], ...]

WIDEST = 100
"""Columns; longer lines are hard to read."""

_UNBROKEN = "\N{NON-BREAKING HYPHEN}"
"""Stands for a hyphen while lines are broken, so that names such as ``distributed-sampler`` stay in one piece."""

_BELOW = 2
"""A first column so narrow that everything in it gets a line of its own."""

_NOT_SHOWN: tuple[object, ...] = (None, False, (), [], "")
"""Defaults of which nothing need be said."""

NOT_DONE = ("2", "not carried out: a line says why, a second what to do")
FOUND: Rows = (("0", "nothing at or above --fail-on"), ("1", "such findings"), NOT_DONE)
"""Exit codes of the commands that report findings."""


@dataclass(frozen=True)
class Help:
    """What the help of a command ends with."""

    examples: Rows
    exit_codes: Rows = FOUND


class HelpPage:
    """A command or a group that shows its help as a plain page."""

    page: Help

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's, public or vendored
        """Write the page: usage, what it does, arguments, options by their panels, examples, exit codes."""
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), _bold("Usage: "))
        formatter.write_paragraph()
        formatter.write_text(self.help)  # type: ignore[attr-defined]
        for title, rows in self._sections(ctx):
            with formatter.section(_bold(title)):
                styled = [(_cyan(first), second.replace("-", _UNBROKEN)) for first, second in rows]
                formatter.write_dl(styled, col_max=_first_column(rows, formatter.width))
        formatter.buffer[:] = [text.replace(_UNBROKEN, "-") for text in formatter.buffer]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return what stands behind the command's name: each argument as it is declared."""
        arguments = [p.metavar for p in self.get_params(ctx) if _is_argument(p)]  # type: ignore[attr-defined]
        return ["[OPTIONS]", *arguments, *(["COMMAND", "[ARGS]..."] if hasattr(self, "commands") else [])]

    def _sections(self, ctx: Any) -> Iterator[tuple[str, Rows]]:  # noqa: ANN401
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            title = "Arguments" if _is_argument(param) else getattr(param, "rich_help_panel", None) or "Options"
            panels.setdefault(title, []).append((_names(param), _text(param)))
        commands = getattr(self, "commands", {})
        if commands:
            yield "Commands", tuple((name, _first_paragraph(c.help)) for name, c in commands.items())
        last = ["Options", "Report"]
        for title in (*(title for title in panels if title not in last), *(title for title in last if title in panels)):
            yield title, tuple(panels[title])
        yield "Examples", self.page.examples
        yield "Exit codes", self.page.exit_codes


def _is_argument(param: Any) -> bool:  # noqa: ANN401
    return bool(param.param_type_name == "argument")


def _names(param: Any) -> str:  # noqa: ANN401
    """Return ``-q, --quiet`` or ``--output FILE``."""
    if _is_argument(param):
        return str(param.metavar)
    names = ", ".join(sorted(param.opts, key=len))
    return names if param.is_flag else f"{names} {param.metavar}"


def _text(param: Any) -> str:  # noqa: ANN401
    """Return what the option does, and its default where it has one to speak of."""
    if _is_argument(param) or param.default in _NOT_SHOWN:
        return param.help or ""
    return f"{param.help} [default: {str(param.default).removesuffix('.0')}]"


def _first_column(rows: Rows, width: int) -> int:
    """Return how wide the first column may be; where few rows would fit it, the second stands below the first."""
    fitting = [len(first) for first, _ in rows if len(first) <= width * 9 // 20]
    return max(fitting) if len(fitting) > len(rows) // 2 else _BELOW


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())


def _bold(text: str) -> str:
    return typer.style(text, bold=True) if _colours() else text


def _cyan(text: str) -> str:
    return typer.style(text, fg="cyan") if _colours() else text


def _colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
