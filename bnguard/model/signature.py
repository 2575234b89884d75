"""What a class or a factory wants to be called with, and the ``--set`` line that gives it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters by name, without ``self``; none where Python cannot tell."""
    try:
        found = inspect.signature(_code_of(function)).parameters
    except (TypeError, ValueError):
        return {}
    names = list(found)[1:] if isinstance(function, type) else list(found)
    return {n: found[n] for n in names}


def required(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments without defaults."""
    return tuple(n for n, p in parameters(function).items() if p.default is p.empty and p.kind not in _ANY)


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether it can be called with this keyword."""
    found = parameters(function)
    plain = [n for n, p in found.items() if p.kind not in _ANY]
    return name in plain or any(p.kind is p.VAR_KEYWORD for p in found.values())


def set_line(function: Callable[..., Any], names: Sequence[str]) -> str:
    """Return ``--set width=… --set params.hidden=…``: what to type to give these arguments."""
    read = _attributes_read(function)
    wanted = [f"{n}.{a}" for n in names for a in read.get(n, ())] if read else []
    wanted += [n for n in names if n not in read]
    return " ".join(f"--set {name}=…" for name in wanted)


def _code_of(function: Callable[..., Any]) -> Callable[..., Any]:
    # not the class itself: a metaclass may hide what its constructor takes
    return function.__init__ if isinstance(function, type) else function  # type: ignore[misc]


def _attributes_read(function: Callable[..., Any]) -> dict[str, list[str]]:
    """Return for each name what the body takes out of it: ``params.hidden`` or ``params["hidden"]``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(_code_of(function))))
    except (OSError, SyntaxError, TypeError):
        return {}
    read: dict[str, list[str]] = {}
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    taken = [n for n in ast.walk(tree) if isinstance(n, (ast.Attribute, ast.Subscript)) and id(n) not in called]
    taken.sort(key=lambda n: (n.lineno, n.col_offset))
    for name, part in (pair for n in taken for pair in _part(n)):
        if part not in read.setdefault(name, []):
            read[name].append(part)
    return read


def _part(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.value.id, node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if isinstance(key, str):
            yield node.value.id, key
