"""Reading the user's source: what stands around a line, and what its names stand for, without running any of it."""

from __future__ import annotations

import ast
from types import CodeType

import pytest

from bnguard._source import around, look_up

SOURCE = """
with outer():
    for x in xs:
        call()

def function():
    while True:
        with inner():
            def nested():
                here()
            there()

rows = [call(y) for y in ys]
"""


def code_of(name: str) -> CodeType:
    todo = [compile(SOURCE, "s.py", "exec")]
    while todo:
        code = todo.pop()
        if code.co_name == name:
            return code
        todo += [c for c in code.co_consts if isinstance(c, CodeType)]
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("function", "line", "expected"),
    [
        ("<module>", 4, ["For", "With"]),
        ("function", 11, ["With", "While", "FunctionDef"]),
        ("nested", 10, ["FunctionDef"]),
        ("<module>", 13, ["ListComp"]),
    ],
)
def test_what_stands_around_a_line_is_what_runs_around_it(function: str, line: int, expected: list[str]) -> None:
    assert [type(n).__name__ for n in around(ast.parse(SOURCE), code_of(function), line)] == expected


class Owner:
    def __init__(self) -> None:
        self.loaders = {"train": 1, "val": 2}

    @property
    def dangerous(self) -> int:
        raise AssertionError("a property is not run")


class Dangerous(dict[str, int]):
    def __missing__(self, key: str) -> int:
        raise AssertionError("a mapping of the user's is not asked")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner.loaders['train']", 1),
        ("pair[1]", 4),
        ("owner.loaders[phase]", 2),
        ("owner.loaders[unknown]", None),
        ("owner.loaders['test']", None),
        ("pair[7]", None),
        ("owner.dangerous", None),
        ("lazy['x']", None),
        ("missing.loaders", None),
    ],
)
def test_what_a_name_stands_for(text: str, expected: int | None) -> None:
    names = {"owner": Owner(), "pair": (3, 4), "lazy": Dangerous(), "phase": "val"}
    assert look_up(ast.parse(text, mode="eval").body, names) == expected
