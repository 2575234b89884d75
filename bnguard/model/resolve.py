"""From a target's text to models built for a scan: without weights, with every line of creation recorded."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import nn

from bnguard.errors import BnguardError, TargetError, UsageError
from bnguard.model.build import Construction, TrainingStarted, watched, weightless
from bnguard.model.discover import Candidate, candidates
from bnguard.model.trace import quiet
from bnguard.target import Target, environment, evaluate, explained, import_module


@dataclass
class Built:
    """A model made for the scan alone.

    Attributes:
        target: text that names this model, such as ``model.py:ResNet18``.
        model: its parameters are on the meta device where that was possible.
        rebuild: makes it again with its weights.
        namespace: of the user's file.
        construction: creation lines and downloads that were answered.

    """

    target: str
    model: nn.Module
    rebuild: Callable[[], nn.Module]
    namespace: dict[str, Any]
    construction: Construction
    notes: list[str] = field(default_factory=list)


@contextmanager
def models_of(
    target: Target,
    *,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    stubs: Sequence[str] = (),
) -> Iterator[list[Built]]:
    """Build every model the target names; the user's import paths stay in place within the block.

    Args:
        target: a file, a file and an expression, or a module and an expression.
        settings: constructor arguments by name (``--set``).
        argv: becomes ``sys.argv[1:]`` of the user's file.
        stubs: packages to replace by stand-ins.

    Raises:
        BnguardError: nothing can be built; the message says what is missing.

    """
    with environment(target, argv=argv, stubs=stubs), quiet():
        module, construction = _imported(target)
        if target.expression is not None:
            yield [_named(target, module, construction, dict(settings or {}))]
        else:
            yield _roots(target, module, construction, dict(settings or {}))


def parse_settings(items: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` texts; ``params.hidden=64`` gives a namespace ``params`` with that attribute.

    Raises:
        UsageError: a text without ``=``, or a key that is no identifier.

    """
    settings: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        path = key.strip().split(".")
        if not equals or not all(part.isidentifier() for part in path):
            raise UsageError(
                f"--set {item!r} cannot be read", hint="write --set name=value, such as --set num_classes=3"
            )
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            value = text.strip()
        place: Any = settings
        for part in path[:-1]:
            inner = (
                place.setdefault(part, SimpleNamespace())
                if isinstance(place, dict)
                else vars(place).setdefault(part, SimpleNamespace())
            )
            place = inner
        if isinstance(place, dict):
            place[path[-1]] = value
        else:
            setattr(place, path[-1], value)
    return settings


def _imported(target: Target) -> tuple[ModuleType, Construction]:
    def load() -> ModuleType:
        return import_module(target)

    return _attempt(load, target)


def _attempt(make: Callable[[], Any], target: Target, *, always_retry: bool = False) -> tuple[Any, Construction]:
    """Run the user's code without weights; if that is what breaks it, run it again with them."""
    construction = Construction()
    try:
        with weightless(construction):
            return make(), construction
    except TrainingStarted as error:
        raise _training(error, target) from None
    except (Exception, SystemExit) as error:
        if not (always_retry or _for_want_of_weights(error)):
            raise explained(error, target) from error
    construction = Construction()
    return _with_weights(make, construction, target), construction


def _with_weights(make: Callable[[], Any], construction: Construction, target: Target) -> Any:  # noqa: ANN401
    try:
        with watched(construction):
            return make()
    except TrainingStarted as error:
        raise _training(error, target) from None
    except (Exception, SystemExit) as error:
        raise explained(error, target) from error


def _for_want_of_weights(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or any(w in text for w in ("meta", "device", "item()", "numpy"))


def _training(error: TrainingStarted, target: Target) -> BnguardError:
    import traceback

    from bnguard.usercode import whose

    frames = [f for f in traceback.extract_tb(error.__traceback__) if whose(f.filename) == "user"]
    where = f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return TargetError(
        f"{target.place} starts to train while it is imported{where}; it was stopped there",
        hint='move the training under `if __name__ == "__main__":`, or name the model\'s class: model.py:Net '
        "in a file of its own",
    )


def _named(target: Target, module: ModuleType, construction: Construction, settings: dict[str, Any]) -> Built:
    """Build the one model that the target's expression names."""

    def make(where: ModuleType) -> nn.Module:
        value = evaluate(target, where)
        if not isinstance(value, nn.Module) and callable(value):
            _require_arguments(target, value, settings)
            value = value(**_with_classes(settings, where))
        elif settings:
            raise UsageError(
                "--set has nothing to act on: the target is an object or a call already",
                hint="name the class or factory alone, such as model.py:Net",
            )
        return _as_module(value, target)

    def again() -> nn.Module:
        # a module-level instance comes to life with the import, so that the file is imported again, with weights
        def whole() -> nn.Module:
            return make(import_module(target))

        return _as_module(_with_weights(whole, Construction(), target), target)

    existing = vars(module).get(target.expression or "")
    if isinstance(existing, nn.Module) and not settings:  # the import built it and recorded its lines
        return Built(target.text, existing, again, vars(module), construction)
    model, built_with = _attempt(lambda: make(module), target, always_retry=True)
    return Built(target.text, model, again, vars(module), built_with)


def _with_classes(settings: Mapping[str, Any], module: ModuleType) -> dict[str, Any]:
    """Let ``--set block=BasicBlock`` mean the class of that name in the user's file."""
    return {
        k: found if isinstance(v, str) and isinstance(found := vars(module).get(v), type) else v
        for k, v in settings.items()
    }


def _as_module(value: object, target: Target) -> nn.Module:
    if isinstance(value, nn.Module):
        return value
    hint = None
    if isinstance(value, (tuple, list)) and any(isinstance(v, nn.Module) for v in value):
        at = next(i for i, v in enumerate(value) if isinstance(v, nn.Module))
        hint = f"take the model out of it: {target.text}[{at}]"
    elif isinstance(value, dict) and any(isinstance(v, nn.Module) for v in value.values()):
        key = next(k for k, v in value.items() if isinstance(v, nn.Module))
        hint = f"take the model out of it: {target.text}[{key!r}]"
    raise TargetError(
        f"{target.text} gives a {type(value).__name__}, not an nn.Module",
        hint=hint or "name an nn.Module: an instance, a class, or a function that returns one",
    )


def _require_arguments(target: Target, value: Any, settings: Mapping[str, Any]) -> None:  # noqa: ANN401 - a callable
    import inspect

    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [k for k in settings if k not in parameters and not takes_any]
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], parameters)
        hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(parameters) or 'nothing'}"
        raise UsageError(f"{target.text} has no argument {unknown[0]!r}", hint=hint)
    missing = [
        n
        for n, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and n not in settings
    ]
    if missing:
        line = " ".join(f"--set {name}=…" for name in missing)
        raise TargetError(
            f"{target.text} needs {_listed(missing)}",
            hint=f"give {'it' if len(missing) == 1 else 'them'}: bnguard scan {target.text} {line}",
        )


def _listed(names: Sequence[str]) -> str:
    return f"the argument {names[0]!r}" if len(names) == 1 else "the arguments " + ", ".join(map(repr, names))


# ------------------------------------------------------------------------- a whole file's models


def _roots(target: Target, module: ModuleType, construction: Construction, settings: dict[str, Any]) -> list[Built]:
    offered = candidates(module)
    if not offered:
        raise TargetError(
            f"{target.place} has no model: no nn.Module instance, class or factory",
            hint=f"name the object that is or builds one, such as {target.place}:build_model",
        )
    built: list[Built] = []
    failures: list[tuple[Candidate, BnguardError]] = []
    for candidate in offered:
        if set(candidate.missing) - set(settings) or (candidate.kind == "class" and _is_made(candidate.value, built)):
            continue
        try:
            built.append(_build(candidate, target, module, construction, settings))
        except BnguardError as error:
            failures.append((candidate, error))
    roots = _without_parts(built)
    if not roots and failures:
        raise failures[0][1]
    if not roots:
        raise _nothing_buildable(target, offered)
    for candidate, failure in failures:
        roots[0].notes.append(f"{candidate.name} could not be built and is left out: {failure.message}")
    return roots


def _build(
    candidate: Candidate,
    target: Target,
    module: ModuleType,
    construction: Construction,
    settings: dict[str, Any],
) -> Built:
    one = replace(target, text=f"{target.text}:{candidate.name}", expression=candidate.name)
    wanted = {k: v for k, v in settings.items() if candidate.kind != "instance" and _takes(candidate.value, k)}
    return _named(one, module, construction, wanted)


def _takes(function: Any, name: str) -> bool:  # noqa: ANN401 - a class or function
    import inspect

    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _is_made(cls: type, built: list[Built]) -> bool:
    """Whether an instance or a factory already gave a model of this class, or one that contains it."""
    return any(type(m) is cls for b in built for m in b.model.modules())


def _without_parts(built: list[Built]) -> list[Built]:
    """Leave out what is only a part of another model that was found: the same object, or a class of this file."""
    inside = [m for b in built for m in b.model.modules() if m is not b.model]
    parts, classes = {id(m) for m in inside}, {type(m) for m in inside}
    kept = [
        b
        for b in built
        if id(b.model) not in parts
        and not (type(b.model) in classes and type(b.model).__module__ == b.namespace.get("__name__"))
    ]
    return kept or built


def _nothing_buildable(target: Target, offered: Sequence[Candidate]) -> BnguardError:
    lines = []
    for candidate in offered:
        wanted = " ".join(f"--set {name}=…" for name in candidate.missing)
        lines.append(
            f"  {candidate.name}({', '.join(candidate.missing)}):  bnguard scan {target.place}:{candidate.name} {wanted}"
        )
    return TargetError(
        f"no model in {target.place} can be built without arguments",
        hint="give them; the candidates are\n" + "\n".join(lines),
    )
