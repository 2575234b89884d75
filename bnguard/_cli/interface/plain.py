"""A typer command whose options are read without pydantic, and whose help is a plain page.

From 0.29 on typer builds a pydantic adapter for every option it reads. Importing pydantic takes longer than
all of ``bnguard audit-loader``, and options that are text, numbers, switches and lists of text can do without.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bnguard._cli.interface.help import HelpPage

if typing.TYPE_CHECKING:
    from collections.abc import Callable


class _PlainParameters:
    """Presets how ``str``, ``int``, ``bool``, ``Path`` and lists of text and paths are read; typer reads the rest."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - click's context, public or vendored
        """Return the parameters, the help option among them, with plain conversions in place."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "_runtime_param", "older typer") is None:
                convert = _CONVERTERS.get(_bare(param.type_descriptor.annotation))
                if convert:
                    param._runtime_param = _Plain(convert)  # noqa: SLF001 - tests say when it moves
        return params


class PlainCommand(_PlainParameters, HelpPage, TyperCommand):
    """A command that reads its plain options itself."""


class PassThroughCommand(PlainCommand):
    """A command that stops reading options at its first argument: the rest is not for us."""

    allow_interspersed_args = False

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401 - click's context
        """Offer options of ours before the script alone; behind it the shell completes file names."""
        begun = any(ctx.params.get(p.name) for p in self.params if p.param_type_name == "argument")
        return [] if begun else super().shell_complete(ctx, incomplete)


class PlainGroup(_PlainParameters, HelpPage, TyperGroup):
    """The group above such commands: it has options too."""


class _Plain:
    """Stands in for typer's ``RuntimeParam``: the one method that a parameter calls."""

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert = convert

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401 - any option's value
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        try:
            return self.convert(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not a valid integer.", ctx=ctx, param=param) from None


def _bare(annotation: object) -> object:
    """Return the type without ``| None``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation


_CONVERTERS: dict[object, Callable[[Any], Any]] = {
    str: str,
    int: int,
    bool: bool,
    Path: Path,
    list[str]: list,
    list[Path]: lambda values: [Path(value) for value in values],
}
