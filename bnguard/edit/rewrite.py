"""The edit itself: each call wrapped where it stands, and one ``import bnguard``.

LibCST says where; the text is put in there, so that every other character of the file stays as it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import libcst as cst
from libcst import metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnguard.edit.tree import Tree

_PARTS = ("bnguard", "repair", "merge_tail")
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
        added.append(_import(text, min(tree.span(call)[0] for call in calls), tree))
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
    for scope in tree.scopes():
        for bound in scope.assignments[_PARTS[0]]:
            imported = isinstance(bound, metadata.ImportAssignment)
            at_call = any(bound in tree.scope(call)[_PARTS[0]] for call in calls)
            if not imported or (at_call and _meaning(bound, tree) is None) or not _is_ours(bound):
                line = tree.line(bound.node)  # type: ignore[attr-defined]
                raise Blocked(f"the file binds the name bnguard in line {line}: rename it, or wrap the call by hand")


def _is_ours(bound: metadata.BaseAssignment) -> bool:
    return any(name.name == _PARTS[0] for name in bound.get_qualified_names_for(_PARTS[0]))


def _import(text: str, before: int, tree: Tree) -> _Insertion:
    """Return where ``import bnguard`` goes: sorted into the imports around torch's, else after the first imports."""
    line, newline = f"import {_PARTS[0]}", tree.module.default_newline
    run = _run_of_imports(before, tree)
    others = [s for s in run if not _is_future(s)]
    if others:
        earlier = [s for s in others if _sorts_before(s, tree)]
        if earlier or _has_comment_above(others[0], tree):
            return _after((earlier or others)[-1 if earlier else 0], f"{line}{newline}", text, tree)
        return _Insertion(tree.span(others[0])[0], f"{line}{newline}")
    body = tree.module.body
    last = run[-1] if run else body[0] if tree.module.get_docstring(clean=False) is not None else None
    following = body[body.index(last) + 1 if last else 0 :]
    if last is None:
        blank = 2 if isinstance(following[0], (cst.FunctionDef, cst.ClassDef)) else 1
        return _Insertion(tree.span(following[0])[0], f"{line}{newline}{newline * blank}")
    close = following and not getattr(following[0], "leading_lines", ())
    return _after(last, f"{newline}{line}{newline}{newline if close else ''}", text, tree)


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
        if tree.span(statement)[0] >= before:
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


def _module_of(statement: cst.SimpleStatementLine, tree: Tree) -> str:
    """Return the module that the first import of a line names; empty for a relative one."""
    first = statement.body[0]
    if isinstance(first, cst.ImportFrom):
        return tree.code(first.module) if first.module and not first.relative else ""
    assert isinstance(first, cst.Import)
    return tree.code(first.names[0].name)


def _is_future(statement: cst.SimpleStatementLine) -> bool:
    first = statement.body[0]
    return (
        isinstance(first, cst.ImportFrom) and isinstance(first.module, cst.Name) and first.module.value == "__future__"
    )


def _is_torch(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    return _module_of(statement, tree).startswith("torch")


def _sorts_before(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    return isinstance(statement.body[0], cst.Import) and _module_of(statement, tree).lower() < _PARTS[0]


def _has_comment_above(statement: cst.SimpleStatementLine, tree: Tree) -> bool:
    above = tree.module.header if statement is tree.module.body[0] else statement.leading_lines
    comment = above[-1].comment if above else None
    return comment is not None and not _NOT_OF_THE_IMPORT.match(comment.value)
