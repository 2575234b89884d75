"""One file as LibCST reads it: syntax, where each piece stands, and what each name is bound to."""

from __future__ import annotations

import ast
import warnings
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import libcst as cst
from libcst import metadata

from bnguard._errors import FileError
from bnguard._remedies import MERGE_TAIL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


_PROVIDERS = (
    metadata.ParentNodeProvider,
    metadata.ScopeProvider,
    metadata.PositionProvider,
    metadata.ByteSpanPositionProvider,
)


class Tree:
    """The parsed text and its metadata, which are worked out when they are first asked for.

    Args:
        text: Python source without a byte order mark.
        path: what to call the file in errors.

    Raises:
        FileError: the text is no Python 3, or is nested too deeply to be followed.

    """

    def __init__(self, text: str, path: Path) -> None:
        self.text = text
        self._path = path
        try:
            self.module = cst.parse_module(text)
        except cst.ParserSyntaxError as error:
            raise _no_python(text, error, path) from error

    @cached_property
    def _metadata(self) -> Mapping[Any, Mapping[cst.CSTNode, Any]]:
        try:
            return metadata.MetadataWrapper(self.module, unsafe_skip_copy=True).resolve_many(_PROVIDERS)
        except RecursionError as error:
            raise FileError(
                f"{self._path} nests expressions too deeply to be followed",
                hint=f"wrap the loader by hand: {MERGE_TAIL.function}(DataLoader(...))",
            ) from error

    @cached_property
    def _sound(self) -> int:
        """How many bytes LibCST gives back as they are, so that positions in them are true."""
        same = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.module.code, self.text, strict=False))
        )
        return len(self.text[:same].encode())

    @cached_property
    def calls(self) -> list[cst.Call]:
        """All calls, in the order in which they start."""
        found = [node for node in self._metadata[metadata.ParentNodeProvider] if isinstance(node, cst.Call)]
        return sorted(found, key=lambda call: (self._position(call).start.line, self._position(call).start.column))

    @cached_property
    def loops(self) -> list[cst.For]:
        """All ``for`` statements."""
        return [node for node in self._metadata[metadata.ParentNodeProvider] if isinstance(node, cst.For)]

    @cached_property
    def star_imports(self) -> list[str]:
        """Modules that ``from … import *`` is done from, relative ones left out."""
        found = (node for node in self._metadata[metadata.ParentNodeProvider] if isinstance(node, cst.ImportFrom))
        stars = (node for node in found if isinstance(node.names, cst.ImportStar) and not node.relative)
        return [self.code(node.module) for node in stars if node.module]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around a node, None above the module."""
        parent: cst.CSTNode | None = self._metadata[metadata.ParentNodeProvider].get(node)
        return parent

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """Yield the nodes around a node, the nearest first."""
        around = self.parent(node)
        while around is not None:
            yield around
            around = self.parent(around)

    def line(self, node: cst.CSTNode) -> int:
        """Return the line that a node starts on, from 1."""
        return self._position(node).start.line

    def lines(self, node: cst.CSTNode) -> range:
        """Return all lines of a node."""
        return range(self.line(node), self._position(node).end.line + 1)

    def _position(self, node: cst.CSTNode) -> metadata.CodeRange:
        position: metadata.CodeRange = self._metadata[metadata.PositionProvider][node]
        return position

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return where a node starts and ends, in bytes of the text in UTF-8.

        Raises:
            FileError: LibCST has lost characters before it, as it does with a form feed in front of code.

        """
        span: metadata.CodeSpan = self._metadata[metadata.ByteSpanPositionProvider][node]
        end = span.start + span.length
        if end > self._sound:
            raise FileError(
                f"{self._path}:{self.line(node)} cannot be placed exactly",
                hint="take form feeds and lone carriage returns out of the lines above it",
            )
        return span.start, end

    def code(self, node: cst.CSTNode) -> str:
        """Return a node as it is written, on one line."""
        return " ".join(self.module.code_for_node(node).split())

    def owner(self, expression: cst.BaseExpression) -> object:
        """Return what a name belongs to: the class for ``self.loader``, else the scope that binds it; None for others.

        Two expressions that are written alike mean the same thing if they have one owner.
        """
        root = expression
        while isinstance(root, (cst.Attribute, cst.Subscript)):
            root = root.value
        if root is not expression and isinstance(root, cst.Name) and root.value == "self":
            return next((a for a in self.ancestors(expression) if isinstance(a, cst.ClassDef)), None)
        bound = self.assignments(root) if isinstance(root, cst.Name) else []
        return bound[0].scope if bound else None

    def imported_as(self, node: cst.CSTNode) -> set[str]:
        """Return the dotted names that imports give to an expression; none for what the file defines itself."""
        names = self.scope(node).get_qualified_names_for(node)
        return {name.name for name in names if name.source is metadata.QualifiedNameSource.IMPORT}

    def scope(self, node: cst.CSTNode) -> metadata.Scope:
        """Return the scope that a node's names are looked up in."""
        for place in (node, *self.ancestors(node)):
            scope: metadata.Scope | None = self._metadata[metadata.ScopeProvider].get(place)
            if scope is not None:
                return scope
        raise KeyError(node)

    def scopes(self) -> set[metadata.Scope]:
        """Return all scopes of the file."""
        return {scope for scope in self._metadata[metadata.ScopeProvider].values() if scope is not None}

    def assignments(self, name: cst.Name) -> list[metadata.Assignment]:
        """Return everything that may have bound a name where it is used, parameters and imports among it."""
        return [a for a in self.scope(name)[name.value] if isinstance(a, metadata.Assignment)]

    def function_of(self, call: cst.Call) -> cst.FunctionDef | None:
        """Return the function of this file that a call means: ``make()``, or ``self.make()`` within its class."""
        if isinstance(call.func, cst.Name):
            nodes = [a.node for a in self.assignments(call.func)]
            return nodes[0] if len(nodes) == 1 and isinstance(nodes[0], cst.FunctionDef) else None
        if isinstance(call.func, cst.Attribute) and isinstance(owner := self.owner(call.func), cst.ClassDef):
            named = (x for x in owner.body.body if isinstance(x, cst.FunctionDef))
            return next((x for x in named if x.name.value == call.func.attr.value), None)
        return None

    def value_of(self, name: cst.Name) -> cst.BaseExpression | None:
        """Return the expression that a name stands for, if it is assigned exactly once and alone."""
        target = self._only_target(name)
        return self._assigned(target) if target is not None else None

    def unpacked_from(self, name: cst.Name) -> tuple[cst.BaseExpression, int] | None:
        """Return ``(f(x), 1)`` for a name that is assigned exactly once, by ``first, name = f(x)``."""
        target = self._only_target(name)
        element = self.parent(target) if target is not None else None
        several = self.parent(element) if isinstance(element, cst.Element) else None
        if not isinstance(several, (cst.Tuple, cst.List)) or not isinstance(element, cst.Element):
            return None
        value = self._assigned(several)
        return (value, list(several.elements).index(element)) if value is not None else None

    def _only_target(self, name: cst.Name) -> cst.CSTNode | None:
        found = self.assignments(name)
        return found[0].node if len(found) == 1 and isinstance(found[0].node, cst.Name) else None

    def _assigned(self, target: cst.CSTNode) -> cst.BaseExpression | None:
        around = self.parent(target)
        if isinstance(around, cst.AssignTarget):
            around = self.parent(around)
        if isinstance(around, (cst.Assign, cst.AnnAssign, cst.NamedExpr)):
            return around.value
        return None


def _no_python(text: str, error: cst.ParserSyntaxError, path: Path) -> FileError:
    """Return the syntax error in Python's own words, where Python sees it too."""
    line, words = error.raw_line, "invalid syntax"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as found:
        line, words = found.lineno or line, found.msg
    return FileError(f"{path}:{line}: no Python 3 source: {words}", hint="correct this line, then run again")
