"""The edit itself: each call wrapped where it stands, and one ``import bnguard``.

LibCST says where; the text is put in there, so that every other character of the file stays as it was.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import libcst as cst
from libcst import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._fix.propose import Proposal
    from bnguard._fix.tree import Tree


_PACKAGE = "bnguard"
_NOT_OF_THE_IMPORT = re.compile(r"#!|#.*coding[:=]")


class Blocked(Exception):  # noqa: N818 - an answer, not an error of anyone
    """``import bnguard`` would not mean the package in this file; the text says why."""


class _Insertion(NamedTuple):
    at: int  # in bytes of the text in UTF-8
    text: str


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit: a call wrapped in a function where it stands, or a line below the statement that makes something.

    Attributes:
        function: the dotted name of the function of ``bnguard.repair``.
        node: the call to wrap, or the statement to stand below.
        given: what the line gives to the function; None for a call that is wrapped.

    """

    function: str
    node: cst.CSTNode
    given: str | None = None


def carry_out(text: str, edits: Sequence[Edit], tree: Tree) -> str:
    """Return the text with the edits, and the import that they need.

    A name that the file has already imported for a function is used.

    Raises:
        Blocked: the file uses the name ``bnguard`` for something else.

    """
    nodes = {function: [e.node for e in edits if e.function == function] for function in {e.function for e in edits}}
    names = {function: _imported_name(function, places, tree) for function, places in nodes.items()}
    added: list[_Insertion] = []
    lacking = [edit for edit in edits if names[edit.function] is None]
    if lacking:
        _require_free(lacking, tree)
        added.append(_import(text, min(tree.line(edit.node) for edit in lacking), tree))
    for edit in edits:
        name = names[edit.function] or edit.function
        if edit.given is not None:
            added.append(_line_below(edit.node, f"{name}({edit.given})", text, tree))
        else:
            start, end = tree.span(edit.node)
            added += [_Insertion(start, f"{name}("), _Insertion(end, ")")]
    return _insert(text, added)


def _line_below(statement: cst.CSTNode, new: str, text: str, tree: Tree) -> _Insertion:
    """Put a line of its own below a statement, or the new statement behind it where others share its line."""
    line = tree.parent(statement)
    block = tree.parent(line) if line is not None else None
    alone = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
    if not alone or not isinstance(block, (cst.IndentedBlock, cst.Module)):
        return _Insertion(tree.span(statement)[1], f"; {new}")
    data, start = text.encode(), tree.span(statement)[0]
    before = data[max(data.rfind(b"\n", 0, start), data.rfind(b"\r", 0, start)) + 1 : start]
    return _after(statement, f"{before.decode()}{new}{tree.module.default_newline}", text, tree)


def _insert(text: str, added: list[_Insertion]) -> str:
    data, pieces, done = text.encode(), [], 0
    for at, new in sorted(added, key=lambda insertion: insertion.at):
        pieces += [data[done:at], new.encode()]
        done = at
    return b"".join([*pieces, data[done:]]).decode()


def _imported_name(function: str, places: Sequence[cst.CSTNode], tree: Tree) -> str | None:
    """Return how this file already can call the function at all these places; the shortest way, None without one."""
    parts = function.split(".")
    first = min(tree.line(place) for place in places)
    found: list[str] = []
    for assignment in tree.scope(tree.module).assignments:
        meaning = _meaning(assignment, function, tree)
        if meaning is None or tree.line(assignment.node) >= first:  # type: ignore[attr-defined]
            continue
        if all(_means(assignment.name, meaning, function, place, tree) for place in places):
            found.append(".".join([assignment.name, *parts[meaning.count(".") + 1 :]]))
    return min(found, key=len, default=None)


def _meaning(assignment: metadata.BaseAssignment, function: str, tree: Tree) -> str | None:
    """Return ``bnguard``, ``bnguard.repair`` or the function itself for an import of it at the top level."""
    if not isinstance(assignment, metadata.ImportAssignment) or "." in assignment.name:
        return None
    statement = tree.parent(assignment.node)
    if statement is None or tree.parent(statement) is not tree.module:
        return None
    names = {name.name for name in assignment.get_qualified_names_for(assignment.name)}
    return next((name for name in names if f"{function}.".startswith(f"{name}.")), None)


def _means(name: str, meaning: str, function: str, place: cst.CSTNode, tree: Tree) -> bool:
    return all(_meaning(bound, function, tree) == meaning for bound in tree.scope(place)[name])


def _require_free(edits: Sequence[Edit], tree: Tree) -> None:
    bound = [b for s in tree.scopes() for b in s.assignments[_PACKAGE] if isinstance(b, metadata.Assignment)]
    others = [b for b in bound if not _is_ours(b)]
    seen = [(b, e.function) for e in edits for b in bound if b in tree.scope(e.node)[_PACKAGE]]
    local = [b for b, function in seen if _meaning(b, function, tree) is None]
    lines = [tree.line(b.node) for b in others or local]
    if lines:
        raise Blocked(f"the file binds the name bnguard in line {min(lines)}: rename it, or write the call by hand")


def _is_ours(bound: metadata.Assignment) -> bool:
    names = bound.get_qualified_names_for(_PACKAGE)
    return isinstance(bound, metadata.ImportAssignment) and any(name.name == _PACKAGE for name in names)


def _import(text: str, before: int, tree: Tree) -> _Insertion:
    """Return where ``import bnguard`` goes: sorted into the imports around torch's, else after the first imports."""
    line, newline = f"import {_PACKAGE}", tree.module.default_newline
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
    return isinstance(statement.body[0], cst.Import) and next(_modules(statement, tree)).lower() < _PACKAGE


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
