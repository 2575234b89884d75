"""Building every root model of a file: those that are not a part of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from bnguard.errors import BnguardError, TargetError
from bnguard.model.build import Construction
from bnguard.model.discover import Candidate, candidates, imported_makers
from bnguard.model.named import Built, build_named, unknown_setting
from bnguard.model.signature import accepts, parameters, set_line
from bnguard.target import Target


def build_roots(
    target: Target, module: ModuleType, construction: Construction, settings: Mapping[str, Any]
) -> list[Built]:
    """Build what the file offers: instances, then factories, then the classes that these did not make.

    Args:
        target: a whole file.
        module: the file, imported.
        construction: of that import.
        settings: given to every class and factory that has an argument of that name.

    Raises:
        BnguardError: there is no model, or none can be built; the message lists what each needs.

    """
    offered = candidates(module)
    if not offered:
        raise _no_model(target, module)
    _check_settings(target, offered, settings)
    built: list[Built] = []
    failures: list[tuple[Candidate, BnguardError]] = []
    wanting: list[Candidate] = []
    for candidate in offered:
        if candidate.kind == "class" and _is_made(candidate, built):
            continue
        if set(candidate.missing) - set(settings):
            wanting.append(candidate)
            continue
        try:
            built.append(_build(candidate, target, module, construction, settings))
        except BnguardError as error:
            failures.append((candidate, error))
    roots = _without_parts(built)
    if not roots:
        raise failures[0][1] if failures else _nothing_buildable(target, offered)
    roots[0].notes += _left_out(target, failures, [c for c in wanting if not _is_made(c, built)])
    return roots


def _no_model(target: Target, module: ModuleType) -> TargetError:
    names = imported_makers(module)
    hint = f"name one that it imports: {', '.join(f'{target.place}:{n}' for n in names[:4])}"
    return TargetError(
        f"{target.place} has no model{' of its own' if names else ''}: no nn.Module instance, class or factory",
        hint=hint if names else f"name the object that is or builds one, such as {target.place}:build_model",
    )


def _check_settings(target: Target, offered: list[Candidate], settings: Mapping[str, Any]) -> None:
    makers = [c.value for c in offered if c.kind != "instance"]
    for name in settings:
        if not any(accepts(maker, name) for maker in makers):
            known = dict.fromkeys(n for maker in makers for n in parameters(maker))
            raise unknown_setting(f"no model in {target.place}", name, list(known))


def _build(
    candidate: Candidate, target: Target, module: ModuleType, construction: Construction, settings: Mapping[str, Any]
) -> Built:
    one = replace(target, text=f"{target.place}:{candidate.name}", expression=candidate.name)
    takes_any = candidate.kind != "instance"
    wanted = {k: v for k, v in settings.items() if takes_any and accepts(candidate.value, k)}
    return build_named(one, module, construction, wanted)


def _is_made(candidate: Candidate, built: list[Built]) -> bool:
    """Whether an instance or a factory already gave a model of this class, or one that contains it."""
    return any(type(m) is candidate.value for b in built for m in b.model.modules())


def _without_parts(built: list[Built]) -> list[Built]:
    """Leave out what is only a part of another model that was found: the same object, or a class of this file."""
    inside = [m for b in built for m in b.model.modules() if m is not b.model]
    parts, classes = {id(m) for m in inside}, {type(m) for m in inside}
    kept: dict[int, Built] = {}
    for one in built:
        kind = type(one.model)
        is_part = id(one.model) in parts or (kind in classes and kind.__module__ == one.namespace.get("__name__"))
        if not is_part:
            kept.setdefault(id(one.model), one)  # an object with two names is one model
    return list(kept.values()) or built


def _left_out(target: Target, failures: list[tuple[Candidate, BnguardError]], wanting: list[Candidate]) -> list[str]:
    notes = [f"{c.name} could not be built and is left out: {error.message}" for c, error in failures]
    if wanting:
        first = wanting[0]
        names = ", ".join(f"{c.name}({', '.join(c.missing)})" for c in wanting)
        notes.append(f"not scanned, as they need arguments: {names}; for example {_command(target, first)}")
    return notes


def _command(target: Target, candidate: Candidate) -> str:
    return f"bnguard scan {target.place}:{candidate.name} {set_line(candidate.value, candidate.missing)}"


def _nothing_buildable(target: Target, offered: list[Candidate]) -> BnguardError:
    lines = [f"  {c.name}({', '.join(c.missing)}):  {_command(target, c)}" for c in offered]
    return TargetError(
        f"no model in {target.place} can be built without arguments",
        hint="give them; the candidates are\n" + "\n".join(lines),
    )
