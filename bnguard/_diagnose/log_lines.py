"""The lines of a pasted log without what stands around them: colours, stamps, quoting, ranks, boxes. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ANSI = re.compile(r"\x1b?\[\d{1,2}(?:;\d{1,3})*m|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
"""Colours, also where the page that they were pasted into has dropped the escape character."""

_QUOTING = re.compile(r"^(?:\s{0,3}>(?!>) ?)+")
"""What issue trackers and mail put in front of a quoted line; loguru marks the catching frame with it."""

_BEGINS = r'(?=\s*(?:File "|(?:Original )?Traceback\b|(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Warning)\b))'
_STAMP = re.compile(
    r"^(?:"
    r"\[?\d{4}[-/]\d\d[-/]\d\d[T ,]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?(?: |$)"  # containers, CI, logging
    r"|\(\w+ pid=\d+(?:, ip=[\d.]+)?\) "  # Ray
    r"|[\w.-]{1,40} *\| "  # docker compose
    r"|[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\] "  # glog
    rf"|[^\"']{{0,120}}?\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b[\]:| -]+{_BEGINS}"  # loggers of every kind
    rf"|\[?\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d\]?(?: -)? {_BEGINS}"
    r")"
)
_MOST_STAMPS = 3

_RANK = re.compile(r"^(?:\[(?:rank|default)(\d{1,6})\]:? ?|\[1,(\d{1,6})\]<std(?:err|out)>: ?)")  # torchrun; mpirun
_LABEL = re.compile(r"^ {0,4}(\d{1,6}): ?")  # srun --label
_LABELLED = re.compile(r'^ {0,4}\d{1,6}: ?(?:Traceback \(most|  File ")', re.MULTILINE)

_EMPHASIS = re.compile(r"^(\s*)([*_`~]{1,3})" + _BEGINS)
_EMPHASIS_ENDS = re.compile(r"(?:\*\*|`{1,3}|~~)$")

_SIDES = "│|"
_LONGEST_LINE = 20_000
"""A longer line is no line of a traceback; torch.compile's messages hold some thousand characters."""

NUMBERED_CODE = re.compile(r"^\s*(?:❱\s*)?\d+( |$)")
RICH_FRAME = re.compile(r"^(?P<file>\S.*?):(?P<line>\d{1,9})(?: in (?P<function>[\w.<>]+))?$")


def lines_by_rank(text: str) -> dict[int | None, list[str]]:
    """Return each rank's lines, as Python printed them; those of no rank stand under None."""
    ranks: dict[int | None, list[str]] = {}
    for rank, line in _bare_lines(text):
        ranks.setdefault(rank, []).append(line)
    return {rank: _unboxed(lines) for rank, lines in ranks.items()}


def plain_text(text: str) -> str:
    """Return the text in its own order, without what stands around its lines."""
    return "\n".join(line for _, line in _bare_lines(text))


def _bare_lines(text: str) -> Iterator[tuple[int | None, str]]:
    labelled = _LABELLED.search(text) is not None
    for raw in text.splitlines():
        yield _bare(raw.rstrip()[:_LONGEST_LINE].rstrip(), labelled)


def _bare(raw: str, labelled: bool) -> tuple[int | None, str]:
    line = _ANSI.sub("", raw)
    for _ in range(_MOST_STAMPS):
        line = _QUOTING.sub("", line)
        stamp = _STAMP.match(line)
        if not stamp:
            break
        line = line[stamp.end() :]
    found = _RANK.match(line) or (_LABEL.match(line) if labelled else None)
    rank = int(next(n for n in found.groups() if n)) if found else None
    return rank, _plain(line[found.end() :] if found else line)


def _plain(line: str) -> str:
    """Take bold and code marks away: in front of what begins something, and where a line ends."""
    begins = _EMPHASIS.match(line)
    if begins:
        line = begins[1] + line[begins.end() :].removesuffix(begins[2])
    return _EMPHASIS_ENDS.sub("", line)


# -------------------------------------------------------------------------------------------- rich's boxes


def _unboxed(lines: list[str]) -> list[str]:
    """Take rich's frame away and put its wrapped headers back on one line, so that each box reads as a traceback."""
    plain: list[str] = []
    header: list[str] = []
    for line in lines:
        inside = _inside(line)
        if inside and not NUMBERED_CODE.match(inside):
            header.append(inside.strip())
            continue
        if header:
            plain.append(_joined(header))
            header = []
        if inside is None:
            plain.append("Traceback (most recent call last)" if line.lstrip().startswith("╭") else line)
        elif inside:
            plain.append(inside)
    return [*plain, *([_joined(header)] if header else [])]


def _inside(line: str) -> str | None:
    """Return what stands between the sides of rich's box, or None outside one."""
    bare = line.strip()
    if bare[:1] not in _SIDES or not bare:
        return None
    return bare[1:].removesuffix(bare[0]).removeprefix(" ").rstrip()


def _joined(parts: list[str]) -> str:
    """Join a wrapped ``path:line in function``: at a space, or inside a path that is wider than the box."""
    for between in (" ", ""):
        text = between.join(parts)
        if RICH_FRAME.match(text):
            return text
    return " ".join(parts)
