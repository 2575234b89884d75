"""The edit itself: each call wrapped where it stands, and one ``import bnguard``.

LibCST says where; the text is put in there, so that every other character of the file stays as it was.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import libcst as cst
from libcst import metadata

from bnguard._remedies import MERGE_TAIL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._fix.propose import Proposal
    from bnguard._fix.tree import Tree


_PARTS = tuple(str(MERGE_TAIL.function).split("."))
_NOT_OF_THE_IMPORT = re.compile(r"#!|#.*coding[:=]")


class Blocked(Exception):  # noqa: N818 - an answer, not an error of anyone
    """``import bnguard`` would not mean the package in this file; the text says why."""


class _Insertion(NamedTuple):
    at: int  # in bytes of the text in UTF-8
    text: str


def wrap(text: str, calls: Sequence[cst.Call], tree: Tree) -> str:
    """Return the text with ``bnguard.repair.merge_tail(…)`` around each call, and the import it needs.

    A name that the file has already imported for it is used.

    Raises:
        Blocked: the file uses the name ``bnguard`` for something else.

    """
    function = _imported_name(calls, tree)
    added: list[_Insertion] = []
    if function is None:
        _require_free(calls, tree)
        function = ".".join(_PARTS)
        added.append(_import(text, min(tree.line(call) for call in calls), tree))
    for call in calls:
        start, end = tree.span(call)
        added += [_Insertion(start, f"{function}("), _Insertion(end, ")")]
    return _insert(text, added)


def _insert(text: str, added: list[_Insertion]) -> str:
    data, pieces, done = text.encode(), [], 0
    for at, new in sorted(added, key=lambda insertion: insertion.at):
        pieces += [data[done:at], new.encode()]
        done = at
    return b"".join([*pieces, data[done:]]).decode()


def _imported_name(calls: Sequence[cst.Call], tree: Tree) -> str | None:
    """Return how this file already can call ``merge_tail`` at every call; the shortest way, None without one."""
    first = min(tree.line(call) for call in calls)
    found: list[str] = []
    for assignment in tree.scope(tree.module).assignments:
        meaning = _meaning(assignment, tree)
        if meaning is None or tree.line(assignment.node) >= first:  # type: ignore[attr-defined]
            continue
        if all(_means(assignment.name, meaning, call, tree) for call in calls):
            found.append(".".join([assignment.name, *_PARTS[meaning.count(".") + 1 :]]))
    return min(found, key=len, default=None)


def _meaning(assignment: metadata.BaseAssignment, tree: Tree) -> str | None:
    """Return ``bnguard``, ``bnguard.repair`` or ``bnguard.repair.merge_tail`` for an import of it at the top level."""
    if not isinstance(assignment, metadata.ImportAssignment) or "." in assignment.name:
        return None
    statement = tree.parent(assignment.node)
    if statement is None or tree.parent(statement) is not tree.module:
        return None
    names = {name.name for name in assignment.get_qualified_names_for(assignment.name)}
    return next((name for name in names if name in (".".join(_PARTS[:n]) for n in (1, 2, 3))), None)


def _means(name: str, meaning: str, call: cst.Call, tree: Tree) -> bool:
    return all(_meaning(bound, tree) == meaning for bound in tree.scope(call)[name])


def _require_free(calls: Sequence[cst.Call], tree: Tree) -> None:
    bound = [b for s in tree.scopes() for b in s.assignments[_PARTS[0]] if isinstance(b, metadata.Assignment)]
    others = [b for b in bound if not _is_ours(b)]
    local = [b for b in bound if _meaning(b, tree) is None and any(b in tree.scope(c)[_PARTS[0]] for c in calls)]
    lines = [tree.line(b.node) for b in others or local]
    if lines:
        raise Blocked(f"the file binds the name bnguard in line {min(lines)}: rename it, or wrap the call by hand")


def _is_ours(bound: metadata.Assignment) -> bool:
    names = bound.get_qualified_names_for(_PARTS[0])
    return isinstance(bound, metadata.ImportAssignment) and any(name.name == _PARTS[0] for name in names)


def _import(text: str, before: int, tree: Tree) -> _Insertion:
    """Return where ``import bnguard`` goes: sorted into the imports around torch's, else after the first imports."""
    line, newline = f"import {_PARTS[0]}", tree.module.default_newline
    run = _run_of_imports(before, tree)
    others = [s for s in run if not _is_future(s, tree)]
    if others:
        above = _above(others, tree)
        if above is None:
            return _Insertion(tree.span(others[0])[0], f"{line}{newline}")
        return _after(above, f"{line}{newline}", text, tree)
    body = tree.module.body
    last = run[-1] if run else body[0] if tree.module.get_docstring(clean=False) is not None else None
    following = body[body.index(last) + 1 if last else 0 :]
    if last is None:
        blank = 2 if isinstance(following[0], (cst.FunctionDef, cst.ClassDef)) else 1
        return _Insertion(tree.span(following[0])[0], f"{line}{newline}{newline * blank}")
    close = following and not getattr(following[0], "leading_lines", ())
    return _after(last, f"{newline}{line}{newline}{newline if close else ''}", text, tree)


def _above(run: list[cst.SimpleStatementLine], tree: Tree) -> cst.SimpleStatementLine | None:
    """Return the import line that ours goes below, None where it goes before them all."""
    if not any(_is_torch(s, tree) for s in run):
        return run[-1]
    earlier = [s for s in run if _sorts_before(s, tree)]
    if earlier:
        return earlier[-1]
    return run[0] if _has_comment_above(run[0], tree) else None


def _after(statement: cst.CSTNode, new: str, text: str, tree: Tree) -> _Insertion:
    """Put whole lines below a statement and the comment on its line."""
    data, end = text.encode(), tree.span(statement)[1]
    ending = re.compile(rb"\r\n|\r|\n").search(data, end)
    if ending is None:
        return _Insertion(len(data), tree.module.default_newline + new)
    return _Insertion(ending.end(), new)


def _run_of_imports(before: int, tree: Tree) -> list[cst.SimpleStatementLine]:
    """Return import lines without a gap: those with torch among them, else the last ones that the file begins with."""
    runs: list[list[cst.SimpleStatementLine]] = []
    leading, beginning = 0, True
    previous: cst.CSTNode | None = None
    for index, statement in enumerate(tree.module.body):
        if tree.line(statement) >= before:
            break
        if not _is_import(statement):
            beginning &= index == 0 and tree.module.get_docstring(clean=False) is not None
        else:
            assert isinstance(statement, cst.SimpleStatementLine)
            if not runs or runs[-1][-1] is not previous or statement.leading_lines:
                runs.append([])
            runs[-1].append(statement)
            leading = len(runs) if beginning else leading
        previous = statement
    with_torch = (run for run in runs if any(_is_torch(statement, tree) for statement in run))
    return next(with_torch, runs[leading - 1] if leading else [])


def _is_import(statement: cst.CSTNode) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and all(
        isinstance(small, (cst.Import, cst.ImportFrom)) for small in statement.body
    )


def _modules(statement: cst.SimpleStatementLine, tree: Tree) -> Iterator[str]:
    """Yield the modules that an import line names; empty for a relative one."""
    for small in statement.body:
        if isinstance(small, cst.ImportFrom):
            yield tree.code(small.module) if small.module and not small.relative else ""
        elif isinstance(small, cst.Import):
            yield from (tree.code(alias.name) for alias in small.names)


def _is_future(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    return "__future__" in _modules(statement, tree)


def _is_torch(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    return any(module.startswith("torch") for module in _modules(statement, tree))


def _sorts_before(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    return isinstance(statement.body[0], cst.Import) and next(_modules(statement, tree)).lower() < _PARTS[0]


def _has_comment_above(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    above = tree.module.header if statement is tree.module.body[0] else statement.leading_lines
    comment = above[-1].comment if above else None
    return comment is not None and not _NOT_OF_THE_IMPORT.match(comment.value)


def unified_diff(proposal: Proposal) -> bytes:
    """Return the diff in the bytes of the file, so that it applies whatever its encoding and line endings are.

    There is no ``diff --git`` line: git then takes the path as relative to the folder it is called in, and not to the
    root of the repository. A file that is not below the working folder is named from the root of the disk.
    """
    old, new = (_lines(data) for data in (proposal.source.data, proposal.new_data))
    path = os.fsencode(_shown(proposal.source.real))
    before, after = _quoted(b"a/" + path), _quoted(b"b/" + path)
    return b"".join(_ended(difflib.diff_bytes(difflib.unified_diff, old, new, before, after)))


def is_below_here(real: Path) -> bool:
    """Whether a file lies below the working folder, so that tools which are called there find it."""
    return real.is_relative_to(os.path.realpath(os.curdir))


def _shown(real: Path) -> str:
    path = real.relative_to(os.path.realpath(os.curdir)) if is_below_here(real) else real
    return path.as_posix().lstrip("/")


def _lines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _ended(diff: Iterator[bytes]) -> Iterator[bytes]:
    for line in diff:
        yield line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"


def _quoted(path: bytes) -> bytes:
    """Quote a path as git does where it must; a blank in it asks for a tab behind it."""
    if any(c in path for c in b'"\\\n\t\r'):
        escapes = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\t": b"\\t", b"\r": b"\\r"}
        for plain, escaped in escapes.items():
            path = path.replace(plain, escaped)
        return b'"' + path + b'"'
    return path + b"\t" if b" " in path else path
