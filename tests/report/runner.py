"""What the runner of GitHub Actions makes of a step's output, written from its documented behaviour."""

from __future__ import annotations

from typing import NamedTuple

KNOWN = {
    "error", "warning", "notice", "debug", "group", "endgroup", "add-mask", "set-output", "save-state", "set-env",
    "add-path", "add-matcher", "remove-matcher", "echo", "stop-commands",
}  # fmt: skip


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    data: str


def commands(output: str) -> list[Command]:
    """Return the commands in the output; a line that is none is shown as it is."""
    return [found for line in output.replace("\r", "\n").split("\n") if (found := _command(line))]


def _command(line: str) -> Command | None:
    line = line.lstrip()
    if not line.startswith("::"):
        assert "##[" not in line  # the older form works anywhere in a line
        return None
    head, end, data = line[2:].partition("::")
    name, _, rest = head.partition(" ")
    if not end or name not in KNOWN:
        return None
    pairs = [part.partition("=") for part in rest.split(",") if part]
    return Command(name, {k.strip(): _property(v) for k, _, v in pairs}, _data(data))


def _data(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def _property(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text
