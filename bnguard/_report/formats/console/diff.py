"""A diff on a terminal: what git shows, in git's colours."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

DIFF_STYLE = {"---": "bold", "+++": "bold", "@@": "cyan", "+": "green", "-": "red"}
"""By how a line begins, the longer beginnings first."""


def show_diff(diff: str) -> None:
    """Print a unified diff, a line as a line however long it is; NO_COLOR switches colour off."""
    console = Console(highlight=False, soft_wrap=True)
    for line in diff.split("\n")[:-1]:
        style = next((style for start, style in DIFF_STYLE.items() if line.startswith(start)), "")
        console.print(Text(line, style))
