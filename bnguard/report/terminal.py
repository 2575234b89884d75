"""Stdout as rich draws on it."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console on stdout that leaves it to ``stdout.checked`` what a reader that has gone means for the exit code."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(highlight=False, soft_wrap=False, width=width)

    def on_broken_pipe(self) -> None:
        """Raise the error, where rich would end the process with 1."""
        raise BrokenPipeError
