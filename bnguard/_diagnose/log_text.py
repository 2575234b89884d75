"""A log → the errors in it: frames, type, message, rank; as Python, rich, notebooks and TorchScript print them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bnguard._diagnose.log_lines import NUMBERED_CODE, RICH_FRAME, lines_by_rank


@dataclass(frozen=True)
class Frame:
    """One frame of a traceback; ``source`` is its line of code, where the text shows it.

    ``call`` is the part of that line which Python 3.11 and later underline: the call that was under way. ``above`` are
    the numbered lines before it, as notebooks and rich show them.
    """

    file: str
    line: int
    function: str
    source: str = ""
    call: str = ""
    above: tuple[str, ...] = ()


NOTEBOOK_CELL = "<notebook cell>"
"""The file of a frame in a cell whose header names no file."""


@dataclass
class LoggedError:
    """One exception of the text, with the frames printed above it and, from torch.compile, below it."""

    frames: list[Frame] = field(default_factory=list)
    kind: str = ""
    message: str = ""
    rank: int | None = None


_PLAIN_FRAME = re.compile(
    r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d{1,9})(?:,? in (?P<function>.+))?$'
    r"|^(?P<test_file>\S+\.py):(?P<test_line>\d{1,9}): in (?P<test_function>\w+)$"
)
_NOTEBOOK_FRAME = re.compile(
    r"^(?:File )?(?P<file>\S.*?[\w>\])]):(?P<line>\d{1,9}), in (?P<function>[\w.<>]+)"
    r"|^(?P<old_file>\S.*?\.py|<ipython-input\S*>) in (?:<cell line: \d+>\(\)|(?P<old_function>[\w.<>]+)(?:\(.*)?)$"
    r"|^(?:Cell|Input) In\s?\[\d+\](?:, line (?P<cell_line>\d{1,9}))?"
    r"(?:, in (?:<cell line: |(?P<cell_function>[\w.<>]+)))?"
)
_ARROW = re.compile(r"^(?:-{2,}>|❱) ?(\d{1,9}) ?(.*)$")
_MARKERS = re.compile(r"^\s*[~^]+\s*$")

_ERROR = re.compile(
    r"^(?:E\s+)?(?P<kind>(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning)|Error|Exception))"
    r"(?::\s?(?P<message>.*))?$"
    r"|^Exception has occurred: (?P<paused>\w+)"  # VS Code, above what the exception says
)
_HEADER = re.compile(
    r"^(?:Original )?Traceback(?: of TorchScript)?(?:, serialized code)? \(most recent call last\)"
    r"|^-{20,}$|^During handling of the above|^The above exception was"
)
_BELOW = "from user code:"
"""Under a torch.compile error stand the frames of the user's model."""


def read_errors(text: str) -> list[LoggedError]:
    """Return every exception of the text in the order of the text, rank by rank."""
    return [error for rank, lines in lines_by_rank(text).items() for error in _Reader(rank).read(lines)]


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
            kind = error["kind"] or error["paused"]
            self.current.kind, self.current.message = kind.rpartition(".")[2], error["message"] or ""
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
    shown = RICH_FRAME.match(line) or _NOTEBOOK_FRAME.match(line)
    below = next((line for line in lines[at + 1 : at + 4] if line.strip()), "")
    # numbered code, as rich and notebooks print it: a bare ``name:5`` proves nothing
    if shown and (NUMBERED_CODE.match(below) or _ARROW.match(below)):
        return _shown_frame(shown.groupdict(), lines, at)
    return None, at


def _plain_frame(found: re.Match[str], lines: list[str], at: int) -> tuple[Frame, int]:
    """Read ``File "…", line N, in f`` and the code below it, with the underlining of Python or TorchScript."""
    code: list[str] = []
    end = _first_line_of_code(lines, at)
    indent = _indent(lines[at])
    while end < len(lines) and lines[end].strip() and not _starts_something(lines[end]):
        if code and _indent(lines[end]) <= indent:
            break  # the first line counts even so: pasting into a web page often takes the indentation
        code.append(lines[end])
        end += 1
    file, line, function = (found[name] or found[f"test_{name}"] or "" for name in ("file", "line", "function"))
    return Frame(file, int(line), function, *_underlined(code)), end


def _first_line_of_code(lines: list[str], at: int) -> int:
    """Return where a frame's code begins: on the next line, or below a blank one, which some pages put everywhere."""
    after = at + 1
    blank = after < len(lines) - 1 and not lines[after].strip()
    return after + 1 if blank and _indent(lines[after + 1]) > _indent(lines[at]) else after


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


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
    """Read a frame above numbered code, whose line an arrow points at; the lines above that are kept as well."""
    end, source, line = at + 1, "", found.get("line") or found.get("cell_line") or "0"
    shown: list[str] = []
    above: tuple[str, ...] = ()
    while end < len(lines) and (not lines[end].strip() or NUMBERED_CODE.match(lines[end]) or _ARROW.match(lines[end])):
        marked = _ARROW.match(lines[end].strip())
        if marked:
            line, source, above = marked[1], marked[2].replace("│", " ").strip(), tuple(shown)
        shown.append(lines[end])
        end += 1
        if not lines[end - 1].strip() and end < len(lines) and not NUMBERED_CODE.match(lines[end]):
            break
    file = found.get("file") or found.get("old_file") or NOTEBOOK_CELL
    function = found.get("function") or found.get("old_function") or found.get("cell_function") or "<module>"
    return Frame(file, int(line), function.rpartition(".")[2], source, above=above), end  # notebooks print Net.forward
