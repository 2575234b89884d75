"""What bnguard takes from the inside of typer is still there, and reads options as typer does."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from bnguard._cli.interface import plain

OLD = tuple(map(int, version("typer").split(".")[:2])) < (0, 29)


def command(cls: type[Any] | None, seen: list[object]) -> Any:
    app = typer.Typer(add_completion=False)

    @app.command(cls=cls)
    def take(
        number: int = 3,
        text: str | None = None,
        on: bool = False,
        places: Annotated[list[Path] | None, typer.Option("--place")] = None,
    ) -> None:
        seen.append((number, text, on, places))

    return get_command(app)


@pytest.mark.skipif(OLD, reason="this typer reads options without pydantic")
def test_the_private_attribute_is_where_it_is_looked_for() -> None:
    """If this fails typer has moved it: all commands work on, and take as long as importing pydantic longer."""
    plain_one, typers = command(plain.PlainCommand, []), command(None, [])
    assert {p._runtime_param for p in typers.params} == {None}
    assert {p.type_descriptor.annotation for p in typers.params} >= {int, bool}
    read = plain_one.get_params(plain_one.context_class(plain_one))
    ours = {param.name for param in read if isinstance(param._runtime_param, plain._Plain)}
    assert ours >= {"number", "text", "on", "places"}


@pytest.mark.parametrize(
    "arguments", [[], ["--number", "-7", "--text", "3"], ["--on", "--place", "a", "--place", "b/c"], ["--number", "x"]]
)
def test_options_are_read_as_typer_reads_them(arguments: list[str]) -> None:
    told = []
    for cls in (plain.PlainCommand, None):
        seen: list[object] = []
        try:
            command(cls, seen)(arguments, standalone_mode=False)
        except Exception as error:
            seen.append(type(error).__name__)
        told.append(seen)
    assert told[0] == told[1]
    assert told[0]
