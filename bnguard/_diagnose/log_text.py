"""A log → the errors in it: frames, type, message, rank; as Python, rich, notebooks and TorchScript print them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Frame:
    """One frame of a traceback; ``source`` is its line of code, where the text shows it.

    ``call`` is the part of that line which Python 3.11 and later underline: the call that was under way.
    """

    file: str
    line: int
    function: str
    source: str = ""
    call: str = ""


@dataclass
class LoggedError:
    """One exception of the text, with the frames printed above it and, from torch.compile, below it."""

    frames: list[Frame] = field(default_factory=list)
    kind: str = ""
    message: str = ""
    rank: int | None = None


_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_STAMP = re.compile(
    r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z? |^\(\w+ pid=\d+(?:, ip=[\d.]+)?\) "  # containers, CI; Ray
)
_RANK = re.compile(r"^\[(?:rank|default)(\d+)\]:? ?")
_SIDES = "│|"

_PLAIN_FRAME = re.compile(
    r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+?))?\s*$'
    r"|^(?P<test_file>\S+\.py):(?P<test_line>\d+): in (?P<test_function>\w+)$"
)
_RICH_FRAME = re.compile(r"^(?P<file>\S.*?):(?P<line>\d+)(?: in (?P<function>[\w.<>]+))?$")
_NOTEBOOK_FRAME = re.compile(
    r"^(?:File )?(?P<file>\S*?[\w>\])]):(?P<line>\d+), in (?P<function>[\w.<>]+)"
    r"|^(?P<old_file>\S+\.py|<ipython-input\S*>) in (?P<old_function>[\w.<>]+)(?:\(.*)?$"
    r"|^Cell In\s?\[\d+\], line (?P<cell_line>\d+)(?:, in (?P<cell_function>[\w.<>]+))?"
)
_RICH_SOURCE = re.compile(r"^❱\s*(\d+) ?(.*)$")
_RICH_CONTEXT = re.compile(r"^\s*(?:❱\s*)?\d+( |$)")
_ARROW = re.compile(r"^-{2,}> ?(\d+) ?(.*)$")
_MARKERS = re.compile(r"^\s*[~^]+\s*$")

_ERROR = re.compile(
    r"^(?:E\s+)?(?P<kind>(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning)|Error|Exception))"
    r"(?::\s?(?P<message>.*))?$"
)
_HEADER = re.compile(
    r"^(?:Original )?Traceback(?: of TorchScript)?(?:, serialized code)? \(most recent call last\)"
    r"|^-{20,}$|^During handling of the above|^The above exception was"
)
_BELOW = "from user code:"
"""Under a torch.compile error stand the frames of the user's model."""

_LONGEST_LINE = 20_000
"""A longer line is no line of a traceback; torch.compile's messages hold some thousand characters."""


def read_errors(text: str) -> list[LoggedError]:
    """Return every exception of the text in the order of the text, rank by rank."""
    ranks: dict[int | None, list[str]] = {}
    for raw in text.splitlines():
        line = _STAMP.sub("", _ANSI.sub("", raw.rstrip()[:_LONGEST_LINE]))
        found = _RANK.match(line)
        rank = int(found[1]) if found else None
        ranks.setdefault(rank, []).append(line[found.end() :] if found else line)
    return [error for rank, lines in ranks.items() for error in _Reader(rank).read(_unboxed(lines))]


def _unboxed(lines: list[str]) -> list[str]:
    """Take rich's frame away and put its wrapped headers back on one line, so that each box reads as a traceback."""
    plain: list[str] = []
    header: list[str] = []
    for line in lines:
        inside = _inside(line)
        if inside and not _RICH_CONTEXT.match(inside):
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
        if _RICH_FRAME.match(text):
            return text
    return " ".join(parts)


class _Reader:
    """Reads one rank's lines; holds the exception being read."""

    def __init__(self, rank: int | None) -> None:
        self.rank = rank
        self.errors: list[LoggedError] = []
        self.current = LoggedError(rank=rank)
        self.in_message = False
        self.below = False

    def read(self, lines: list[str]) -> list[LoggedError]:
        at = 0
        while at < len(lines):
            at = self._line(lines, at)
        self._close()
        return [error for error in self.errors if error.kind]

    def _line(self, lines: list[str], at: int) -> int:
        """Read the line, or the frame that starts there; return where the next one starts."""
        line = lines[at]
        if _HEADER.match(line):
            self._close()
            return at + 1
        if line.strip() == _BELOW:
            self.below, self.in_message = True, False
            return at + 1
        frame, after = _frame(lines, at)
        if frame is not None:
            if self.current.kind and not self.below:
                self._close()
            self.current.frames.append(frame)
            self.in_message = False
            return after
        error = _ERROR.match(line)
        if error and not (self.in_message and self.current.frames):
            if self.current.kind:
                self._close()
            self.current.kind, self.current.message = error["kind"].rpartition(".")[2], error["message"] or ""
            self.in_message = True
        elif self.in_message and line.strip():
            self.current.message += f"\n{line.strip()}"
        else:
            self.in_message = False
        return at + 1

    def _close(self) -> None:
        if self.current.kind or self.current.frames:
            self.errors.append(self.current)
        self.current = LoggedError(rank=self.rank)
        self.in_message = self.below = False


def _frame(lines: list[str], at: int) -> tuple[Frame | None, int]:
    line = lines[at]
    plain = _PLAIN_FRAME.match(line)
    if plain:
        return _plain_frame(plain, lines, at)
    shown = _RICH_FRAME.match(line) or _NOTEBOOK_FRAME.match(line)
    below = next((line for line in lines[at + 1 : at + 4] if line.strip()), "")
    # numbered code, as rich and notebooks print it: a bare ``name:5`` proves nothing
    if shown and (_RICH_CONTEXT.match(below) or _ARROW.match(below)):
        return _shown_frame(shown.groupdict(), lines, at)
    return None, at


def _plain_frame(found: re.Match[str], lines: list[str], at: int) -> tuple[Frame, int]:
    """Read ``File "…", line N, in f`` and the code below it, with the underlining of Python or TorchScript."""
    code: list[str] = []
    end = at + 1
    indent = len(lines[at]) - len(lines[at].lstrip())
    while end < len(lines) and lines[end].strip() and not _starts_something(lines[end]):
        if code and len(lines[end]) - len(lines[end].lstrip()) <= indent:
            break  # the first line counts even so: pasting into a web page often takes the indentation
        code.append(lines[end])
        end += 1
    file, line, function = (found[name] or found[f"test_{name}"] or "" for name in ("file", "line", "function"))
    return Frame(file, int(line), function, *_underlined(code)), end


def _starts_something(line: str) -> bool:
    return any(pattern.match(line) for pattern in (_PLAIN_FRAME, _ERROR, _HEADER)) or line.strip() == _BELOW


def _underlined(code: list[str]) -> tuple[str, str]:
    for i, line in enumerate(code[1:], 1):
        marks = line.replace("<--- HERE", "")
        if _MARKERS.match(marks):
            start, stop = len(marks) - len(marks.lstrip()), len(marks.rstrip())
            return code[i - 1].strip(), code[i - 1][start:stop].strip()
    return (code[0].strip(), "") if code else ("", "")


def _shown_frame(found: dict[str, str | None], lines: list[str], at: int) -> tuple[Frame, int]:
    end, source, line = at + 1, "", found.get("line") or found.get("cell_line") or "0"
    while end < len(lines) and (not lines[end].strip() or _RICH_CONTEXT.match(lines[end]) or _ARROW.match(lines[end])):
        marked = _RICH_SOURCE.match(lines[end].strip()) or _ARROW.match(lines[end])
        if marked:
            line, source = marked[1], marked[2].replace("│", " ").strip()
        end += 1
        if not lines[end - 1].strip() and end < len(lines) and not _RICH_CONTEXT.match(lines[end]):
            break
    file = found.get("file") or found.get("old_file") or "<notebook cell>"
    function = found.get("function") or found.get("old_function") or found.get("cell_function") or "<module>"
    return Frame(file, int(line), function.rpartition(".")[2], source), end  # notebooks print Net.forward
