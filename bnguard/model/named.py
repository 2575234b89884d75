"""Building the one model that a target's expression names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import nn

from bnguard.errors import TargetError, UsageError, did_you_mean
from bnguard.model.attempt import attempt, with_weights
from bnguard.model.build import Construction
from bnguard.model.settings import Namespace, with_classes
from bnguard.model.signature import accepts, parameters, required, set_line
from bnguard.target import Target, evaluate, import_module


@dataclass
class Built:
    """A model made for the scan alone.

    Attributes:
        target: text that names this model, such as ``model.py:ResNet18``.
        model: its parameters are on the meta device where that was possible.
        rebuild: makes it again with its weights.
        namespace: of the user's file.
        construction: creation lines and downloads that were answered.
        notes: what the reader should know of how it was built.

    """

    target: str
    model: nn.Module
    rebuild: Callable[[], nn.Module]
    namespace: dict[str, Any]
    construction: Construction
    notes: list[str] = field(default_factory=list)


def build_named(target: Target, module: ModuleType, construction: Construction, settings: Mapping[str, Any]) -> Built:
    """Build the model that ``target.expression`` is, or builds when it is called.

    Args:
        target: with an expression.
        module: the user's file, imported.
        construction: of that import.
        settings: arguments by name for a class or factory.

    Raises:
        BnguardError: it cannot be built, or is no model.

    """

    def again() -> nn.Module:
        # a module-level instance comes to life with the import, so that the file is imported again, with weights
        return with_weights(lambda: _made(target, import_module(target), settings), target)[0]

    existing = vars(module).get(target.expression or "")
    if isinstance(existing, nn.Module) and not settings:  # the import built it and recorded its lines
        return Built(target.text, existing, again, vars(module), construction)
    model, built_with = attempt(lambda: _made(target, module, settings), target, always_retry=True)
    return Built(target.text, model, again, vars(module), built_with)


def _made(target: Target, module: ModuleType, settings: Mapping[str, Any]) -> nn.Module:
    value = evaluate(target, module)
    if isinstance(value, nn.Module) or not callable(value):
        if settings:
            raise UsageError(
                "--set has nothing to act on: the target is an object or a call already",
                hint="name the class or factory alone, such as model.py:Net",
            )
        return _as_module(value, target.text)
    _check_arguments(target, value, settings)
    try:
        made = value(**with_classes(settings, module))
    except AttributeError as error:
        raise _wanting(error, target, settings) from error
    return _as_module(made, f"{target.text}()")


def _wanting(error: AttributeError, target: Target, settings: Mapping[str, Any]) -> Exception:
    """Say which ``--set`` is missing where the constructor reads more from a namespace than it was given."""
    key = next((k for k, v in settings.items() if v is error.obj and isinstance(v, Namespace)), None)
    if key is None:
        return error
    return TargetError(
        f"{target.text} reads {key}.{error.name}, which is not given", hint=f"add --set {key}.{error.name}=…"
    )


def _check_arguments(target: Target, function: Any, settings: Mapping[str, Any]) -> None:  # noqa: ANN401 - a callable
    unknown = next((k for k in settings if not accepts(function, k)), None)
    if unknown is not None:
        raise unknown_setting(target.text, unknown, list(parameters(function)))
    missing = [n for n in required(function) if n not in settings]
    if missing:
        raise TargetError(
            f"{target.text} needs {_listed(missing)}",
            hint=f"bnguard scan {target.text} {set_line(function, missing)}",
        )


def unknown_setting(text: str, name: str, known: list[str]) -> UsageError:
    """Return the error for a ``--set`` name that nothing takes, with a near one."""
    hint = did_you_mean(name, known) or f"it takes: {', '.join(known) or 'nothing'}"
    return UsageError(f"{text} has no argument {name!r}", hint=hint)


def _listed(names: list[str]) -> str:
    return f"the argument {names[0]!r}" if len(names) == 1 else "the arguments " + ", ".join(map(repr, names))


def _as_module(value: object, text: str) -> nn.Module:
    if isinstance(value, nn.Module):
        return value
    inside = next((step for step, part in _parts(value) if isinstance(part, nn.Module)), None)
    raise TargetError(
        f"{text} gives an object of type {type(value).__name__}, not an nn.Module",
        hint=f"take the model out of it: {text}{inside}"
        if inside
        else "name an nn.Module: an instance, a class, or a function that returns one",
    )


def _parts(value: object) -> list[tuple[str, object]]:
    if isinstance(value, (tuple, list)):
        return [(f"[{i}]", v) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return [(f"[{k!r}]", v) for k, v in value.items()]
    return [(f".{n}", v) for n, v in getattr(value, "__dict__", {}).items()]
