"""Under what circumstances the failed call was made, from the frames it was made in and the source they are at."""

from __future__ import annotations

import ast
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bnguard import _private_torch as private
from bnguard._audit_loader import audit_loader
from bnguard._audit_loader.foreign import loader_inside
from bnguard._diagnose.failed_layer import module_of
from bnguard._facts.loaders import LoaderFact
from bnguard._facts.models import SourceLine
from bnguard._facts.situation import Alone, Situation, does_not_train, probe_of
from bnguard._models.origin import line_in_function
from bnguard._models.wrappers import unwrap
from bnguard._rules.single_sample import is_a_tail, is_in_a_piece, only_batches_of_one, place_of
from bnguard._source import COMPREHENSIONS, FUNCTIONS, PLACES, around, look_up, name_of, parsed
from bnguard._usercode import whose

_CUTS = {"split", "chunk", "tensor_split", "unbind", "split_with_sizes", "array_split"}
"""Functions and methods that cut a batch into pieces."""


@dataclass(frozen=True)
class _At:
    """A frame of the user's, what stands around the line it was left at, and what the names there stand for."""

    frame: FrameType
    nodes: Sequence[ast.AST]
    names: Mapping[str, Any]

    @property
    def loops(self) -> Iterator[ast.expr]:
        """What the loops around the line go through, the innermost first; ``while`` goes through its condition."""
        for node in self.nodes:
            if isinstance(node, (ast.For, *COMPREHENSIONS)):
                yield from [node.iter] if isinstance(node, ast.For) else [g.iter for g in node.generators]
            elif isinstance(node, ast.While):
                yield node.test


def situation_of(lines: Mapping[FrameType, int], root: nn.Module | None, samples: int | None) -> Situation:
    """Return the circumstances of a call.

    Args:
        lines: the frames of the traceback, the outermost first, and the line of each.
        root: the model that the user called, None if not known.
        samples: N of the failed call's input.

    """
    frames = list(lines)
    calls = [i for i, f in enumerate(frames) if f.f_code.co_name in private.RUN_HOOKS and module_of(f) is not None]
    outer, inner = (frames[: calls[0]], frames[calls[0] :]) if calls else (frames, [])
    users = [at for f in reversed(outer) if (at := _at(f, lines[f], frames)) is not None]
    if not users:
        return Situation()
    names = [n for at in users if (n := at.frame.f_code.co_name) and does_not_train(n) is not None]
    function = names[0] if names and does_not_train(names[0]) else None
    probe = next(filter(None, (probe_of(f.f_code.co_filename) for f in outer)), None)
    loader, called = next(_loaders(users), (None, None))
    only_users = all(whose(f.f_code.co_filename) in ("user", "bnguard", "python") for f in outer)
    fact = None if loader is None else _audited(loader)
    batch_size = _batch_size(inner[0]) if inner else None
    by_itself = probe is not None and loader is None
    return Situation(
        probe or function,
        grad=_records_gradients(users),
        fed=True if loader is not None else False if by_itself or (only_users and not _may_be_fed(users)) else None,
        loader=called,
        model=_name_in(users, root),
        looped=any(True for at in users for _ in at.loops) if only_users or by_itself else None,
        alone=_alone(fact, users, inner, lines, batch_size, samples),
        batch_size=batch_size,
        place=place_of(fact) if fact is not None and is_a_tail(fact) else None,
    )


def _at(frame: FrameType, line: int, frames: Sequence[FrameType]) -> _At | None:
    """Read the source around a frame of the user's; None for others, and where it is not there."""
    if whose(frame.f_code.co_filename) != "user":
        return None
    tree = parsed(frame.f_code.co_filename)
    if tree is None or not tree.body:
        return None
    outside = frames[frames.index(frame) - 1].f_locals if frame.f_code.co_name.startswith("<") else {}
    return _At(frame, around(tree, frame.f_code, line), ChainMap(frame.f_locals, outside, frame.f_globals))


# ------------------------------------------------------------------------------------------------------ gradients


def _records_gradients(users: Sequence[_At]) -> bool | None:
    """Whether gradients were recorded: by the innermost context that says so, else by the state of the thread."""
    for at in users:
        for node in at.nodes:
            for context in _contexts(node):
                said = _switches(context, at.names)
                if said is not None:
                    return said
    return torch.is_grad_enabled()


def _contexts(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.With):
        return [item.context_expr for item in reversed(node.items)]
    return list(node.decorator_list) if isinstance(node, FUNCTIONS) else []


def _switches(context: ast.expr, names: Mapping[str, Any]) -> bool | None:
    call = context if isinstance(context, ast.Call) else None
    name = name_of(context if call is None else call.func)
    if name in ("no_grad", "enable_grad"):
        return name == "enable_grad"
    first = next(iter(call.args), None) if call is not None else None
    value = first.value if isinstance(first, ast.Constant) else None if first is None else look_up(first, names)
    if name == "inference_mode":
        return None if first is not None and not isinstance(value, bool) else value is False
    return value if name == "set_grad_enabled" and isinstance(value, bool) else None


# -------------------------------------------------------------------------------------------------------- loaders


def _loaders(users: Sequence[_At]) -> Iterator[tuple[DataLoader[Any], str]]:
    """Yield the loaders that the loops around the call go through, and how the script names them, innermost first."""
    for at in users:
        for goes_through in at.loops:
            for node in ast.walk(goes_through):
                if isinstance(node, PLACES):
                    inside = _loader(look_up(node, at.names))
                    if inside is not None:
                        yield inside, ast.unparse(node)


def _may_be_fed(users: Sequence[_At]) -> bool:
    """Whether these frames name a loader that can give a lone sample, or the iterator of a loader."""
    values = [value for at in users for value in at.frame.f_locals.values()]
    if any(map(private.is_loader_iterator, values)):
        return True
    facts = [_audited(loader) for value in values if (loader := _loader(value)) is not None]
    return any(fact is None or fact.unknown or fact.first_single is not None for fact in facts)


def _loader(value: object) -> DataLoader[Any] | None:
    """Return the DataLoader that this is, or that it goes through; progress bars keep theirs as ``iterable``."""
    if isinstance(value, DataLoader):
        return value
    below = vars(value).get("iterable") if hasattr(value, "__dict__") else None
    return below if isinstance(below, DataLoader) else loader_inside(value)


def _audited(loader: DataLoader[Any]) -> LoaderFact | None:
    with suppress(Exception):  # a sampler of the user's may raise anything; then nothing is known of its batches
        return audit_loader(loader, mode="train").loaders[0]
    return None


# -------------------------------------------------------------------------------------------------- the lone sample


def _alone(
    fact: LoaderFact | None,
    users: Sequence[_At],
    inner: Sequence[FrameType],
    lines: Mapping[FrameType, int],
    batch_size: int | None,
    samples: int | None,
) -> Alone | None:
    if samples != 1:
        return None
    if batch_size is not None and batch_size > 1:
        if any(isinstance(module_of(f), nn.DataParallel) for f in inner):
            return "piece"
        within = [at for f in inner if (at := _at(f, lines[f], list(lines))) is not None]
        return "chunk" if any(map(_cuts, within)) else "rows"
    if any(map(_cuts, users)):
        return "chunk"
    return None if fact is None or fact.unknown else _by_plan(fact)


def _by_plan(fact: LoaderFact) -> Alone | None:
    """Return how a batch of this loader comes to have one sample."""
    if fact.first_single is None:
        return "between"
    if only_batches_of_one(fact):
        return "every-batch"
    return "tail" if is_a_tail(fact) else "piece" if is_in_a_piece(fact) else None


def _cuts(at: _At) -> bool:
    """Whether the call is in a loop over pieces of a batch, made there or in the same function."""
    if any(isinstance(n, ast.Call) and name_of(n.func) in _CUTS for loop in at.loops for n in ast.walk(loop)):
        return True
    called = at.frame.f_code.co_names
    return bool(_CUTS.intersection(called)) and any(True for _ in at.loops)


def _batch_size(call: FrameType) -> int | None:
    """Return the first dimension of the first tensor that the model was called with."""
    local = call.f_locals
    todo: list[Any] = [*local.get("args", ()), *(local.get("kwargs") or {}).values()]
    while todo:
        value = todo.pop(0)
        if isinstance(value, Tensor):
            return value.shape[0] if value.dim() else None
        if isinstance(value, (list, tuple)):
            todo[:0] = value
        elif isinstance(value, Mapping):
            todo[:0] = value.values()
    return None


def line_of_layer(lines: Mapping[FrameType, int], root: nn.Module, name: str) -> SourceLine | None:
    """Return the line of one of the user's functions on the stack, or of its module, that built a layer."""
    frames = list(lines)
    for at in (at for f in reversed(frames) if (at := _at(f, lines[f], frames)) is not None):
        code, tree = at.frame.f_code, parsed(at.frame.f_code.co_filename)
        held = [n for n, v in at.frame.f_locals.items() if isinstance(v, nn.Module) and unwrap(v) is unwrap(root)]
        for variable in held:
            for scope in (*(n for n in at.nodes if isinstance(n, FUNCTIONS)), *([tree] if tree else [])):
                line = line_in_function(scope.body, code.co_filename, variable, name)
                if line is not None:
                    return line
    return None


def _name_in(users: Sequence[_At], root: nn.Module | None) -> str | None:
    """Return what the innermost of these frames that knows the model calls it."""
    if root is None:
        return None
    for at in users:
        for name, value in at.frame.f_locals.items():
            if isinstance(value, nn.Module) and unwrap(value) is unwrap(root) and name.isidentifier():
                if name != "self":
                    return name
            elif (own := _attribute(value, root)) is not None and name == "self":
                return f"self.{own}"
        for name in at.frame.f_code.co_names:
            value = at.frame.f_globals.get(name)
            if isinstance(value, nn.Module) and unwrap(value) is unwrap(root):
                return name
    return None


def _attribute(owner: object, root: nn.Module) -> str | None:
    inside = dict(owner.named_children()) if isinstance(owner, nn.Module) else getattr(owner, "__dict__", {})
    found = (n for n, v in inside.items() if isinstance(v, nn.Module) and unwrap(v) is unwrap(root))
    return next(found, None)
