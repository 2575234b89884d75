"""Building the one model that a target's expression names: without weights, and with them where that is needed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from torch import nn

from bnguard._errors import BnguardError, TargetError, UsageError, did_you_mean
from bnguard._models.build import Construction, watched, weightless
from bnguard._models.guess import accepts, parameters, required, set_line
from bnguard._stand_ins.weights import AbsentWeights
from bnguard._targets import Target, evaluate, explained, import_module
from bnguard._targets.importing import TrainingStarted, stopped

T = TypeVar("T")


def attempt(make: Callable[[], T], target: Target, *, always_retry: bool = False) -> tuple[T, Construction]:
    """Run the user's code without weights; if that is what breaks it, or always, run it again with them.

    Raises:
        BnguardError: it fails with weights too.

    """
    construction = Construction()
    try:
        with weightless(construction):
            return make(), construction
    except TrainingStarted as error:
        raise stopped(error, target, "the model's class") from None
    except (BnguardError, SystemExit, RecursionError) as error:
        raise explained(error, target) from error
    except Exception as error:
        if not (always_retry or _for_want_of_weights(error)):
            raise explained(error, target) from error
        download = AbsentWeights.__name__ in str(error)  # it computes with what a download would have given
    return with_weights(make, target, download=download)


def with_weights(make: Callable[[], T], target: Target, *, download: bool = False) -> tuple[T, Construction]:
    """Run the user's code as it is, watched.

    Raises:
        BnguardError: what it raises, explained.

    """
    construction = Construction()
    try:
        with watched(construction, download=download):
            return make(), construction
    except TrainingStarted as error:
        raise stopped(error, target, "the model's class") from None
    except (Exception, SystemExit) as error:
        raise explained(error, target) from error


_SIGNS_OF_META_TENSORS = ("meta", "device", "item()", "numpy", AbsentWeights.__name__.lower())


def _for_want_of_weights(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or any(sign in text for sign in _SIGNS_OF_META_TENSORS)


# -------------------------------------------------------------- building the one model that a target's expression names


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
        raise _unset_attribute(error, target, settings) from error
    return _as_module(made, f"{target.text}()")


def _unset_attribute(error: AttributeError, target: Target, settings: Mapping[str, Any]) -> Exception:
    """Say which ``--set`` is missing where the constructor reads more from a namespace than it was given."""
    for key, value in settings.items():
        if value is error.obj and isinstance(value, Namespace):
            name = f"{key}.{error.name}"
            return TargetError(f"{target.text} reads {name}, which is not given", hint=f"add --set {name}=…")
    return error


def _check_arguments(target: Target, function: Any, settings: Mapping[str, Any]) -> None:  # noqa: ANN401 - a callable
    unknown = next((k for k in settings if not accepts(function, k)), None)
    if unknown is not None:
        raise unknown_setting(target.text, unknown, list(parameters(function)))
    missing = [n for n in required(function) if n not in settings]
    if missing:
        names = f"the argument{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
        hint = f"bnguard scan {target.text} {set_line(function, missing)}"
        raise TargetError(f"{target.text} needs {names}", hint=hint)


def unknown_setting(text: str, name: str, known: list[str]) -> UsageError:
    """Return the error for a ``--set`` name that nothing takes, with a near one."""
    hint = did_you_mean(name, known) or f"it takes: {', '.join(known) or 'nothing'}"
    return UsageError(f"{text} has no argument {name!r}", hint=hint)


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


# ------------------------------------------------ constructor arguments from the command line: ``--set key=value``


class Namespace(SimpleNamespace):
    """What ``--set params.hidden=64`` gives as ``params``: read by attribute or by key, as configurations are."""

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - whatever was given
        return vars(self)[key]

    def __contains__(self, key: object) -> bool:
        return key in vars(self)

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - whatever was given
        """Return the value of a key, as a dict does."""
        return vars(self).get(key, default)


def parse_settings(items: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` texts; ``params.hidden=64`` gives a namespace ``params`` with that attribute.

    A value is read as a Python literal, ``true`` and ``false`` as what they mean, and else taken as text.

    Raises:
        UsageError: a text without ``=``, a key that is no identifier, or one that is both a value and a namespace.

    """
    settings: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        path = key.strip().split(".")
        if not equals or not all(part.isidentifier() for part in path):
            hint = "write --set name=value, such as --set num_classes=3"
            raise UsageError(f"--set {item!r} cannot be read", hint=hint)
        inner = settings
        for part in path[:-1]:
            namespace = inner.setdefault(part, Namespace())
            if not isinstance(namespace, Namespace):
                raise _both(part)
            inner = vars(namespace)
        if isinstance(inner.get(path[-1]), Namespace):
            raise _both(path[-1])
        inner[path[-1]] = _value(text.strip())
    return settings


def _both(name: str) -> UsageError:
    return UsageError(
        f"--set gives {name!r} both a value and attributes", hint=f"either --set {name}=… or --set {name}.attribute=…"
    )


def _value(text: str) -> object:
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def with_classes(settings: Mapping[str, Any], module: ModuleType) -> dict[str, Any]:
    """Let ``--set block=BasicBlock`` mean the class of that name in the user's file."""

    def meant(value: object) -> object:
        found = vars(module).get(value) if isinstance(value, str) else None
        return found if isinstance(found, type) else value

    return {key: meant(value) for key, value in settings.items()}
