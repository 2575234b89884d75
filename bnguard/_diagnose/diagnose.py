"""From an exception to its Diagnosis: find the layer, read the words, weigh the evidence, try what would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from bnguard import _ranks as ranks
from bnguard._diagnose.call import replays
from bnguard._diagnose.classify import Classified, classify
from bnguard._diagnose.evidence import assess
from bnguard._diagnose.failed_layer import FailedLayer, lines_of
from bnguard._diagnose.search import find_by_retracing, find_in_backward, find_in_forward, find_in_text
from bnguard._diagnose.situation import line_of_layer, situation_of
from bnguard._errors import UsageError
from bnguard._facts.diagnosis import Diagnosis


def diagnose(exc: BaseException, model: nn.Module | None = None, *, replay: bool = True) -> Diagnosis | None:
    """Say which normalisation layer an exception comes from, and why; for use in an ``except`` block.

    Args:
        exc: as caught, with its traceback. Without one its words are all there is. Where it was raised from another
            one, or while that was handled, that one counts as well.
        model: whose dotted names are wanted; None to find the root in the traceback.
        replay: whether to repeat the failed call on copies, with one thing changed at a time.

    Returns:
        The diagnosis, or None where the exception has nothing to do with normalisation.

    Raises:
        BnguardError: ``exc`` is no exception, or ``model`` is no module.

    """
    if not isinstance(exc, BaseException):
        raise UsageError(f"a {type(exc).__name__} is no exception", hint="call diagnose(exc) in an except block")
    found = find_failure(exc, model, replay=replay)
    return None if found is None else found[1]


def find_failure(
    exc: BaseException, model: nn.Module | None = None, *, replay: bool = True
) -> tuple[Exception, Diagnosis] | None:
    """Return the exception of a normalisation call that led to this one, and its diagnosis.

    A script that catches the error and raises another in its stead, or exits, is ended by it all the same. This very
    exception is told of if it comes from such a call, even where that is not the reason (no memory was left).
    """
    require_module(model)
    itself: tuple[Exception, Diagnosis] | None = None
    for one in _chain(exc):
        diagnosis = _diagnose_one(one, model, replay=replay)
        if diagnosis is not None and diagnosis.code is not None:
            return one, diagnosis
        if diagnosis is not None and one is exc:
            itself = one, diagnosis
    return itself


def _chain(error: BaseException | None) -> Iterator[Exception]:
    """Yield the exception, those that it is a group of, and those that it was raised from, or while handling which."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Exception):
            yield one
        members = getattr(one, "exceptions", ())  # an ExceptionGroup's, from Python 3.11 on
        todo += [m for m in members if isinstance(m, BaseException)] if isinstance(members, tuple) else []
        todo.append(one.__cause__ or one.__context__)


def _diagnose_one(exc: Exception, model: nn.Module | None, *, replay: bool) -> Diagnosis | None:
    read = classify(str(exc), type(exc).__name__)
    found = _find(exc, read, model)
    if found is None:
        return None
    seen = Diagnosis(**{**found.facts(), **_process(found)})
    samples = seen.shape[0] if seen.shape else None
    lines, source = lines_of(exc), seen.source
    if source is None and seen.layer is not None and found.root is not None:
        source = line_of_layer(lines, found.root, seen.layer)
    seen = dataclasses.replace(seen, source=source, situation=situation_of(lines, found.root, samples))
    if not read.reliable_place and seen.layer is not None:  # CUDA may have reported the error of an earlier call here
        seen = dataclasses.replace(seen, layer=None, candidates=(seen.layer,), place="unknown")
    elif replay and found.call is not None:
        cudnn = seen.backend == "cudnn" or read.status is not None
        tried = replays(found.call, backward=found.place == "backward", cudnn=cudnn)
        seen = dataclasses.replace(seen, replays=tried)
    return assess(seen, read)


def require_module(model: object) -> None:
    """Raise a BnguardError unless this is a module or None."""
    if model is None or isinstance(model, nn.Module):
        return
    hint = "write @bnguard.guard(), with parentheses" if callable(model) else "give the model, or nothing"
    raise UsageError(f"a {type(model).__name__} is no nn.Module", hint=hint)


def _find(exc: Exception, read: Classified, model: nn.Module | None) -> FailedLayer | None:
    frames, text, known = list(lines_of(exc)), str(exc), read.cause != "unknown"
    # the words are those of a normalisation though no frame is: a wrapper has raised them anew
    is_lost = read.cause == "one-value-per-channel" or "batch_norm" in text or "batchnorm" in text
    return (
        find_in_forward(exc, model, known=known)
        or (find_in_backward(frames, model) if known else None)
        or (find_by_retracing(exc, read, frames) if is_lost else None)
        or find_in_text(text, read, frames, model)
    )


def _process(found: FailedLayer) -> dict[str, Any]:
    """Return what is known of the device and of this process among others."""
    facts: dict[str, Any] = {}
    rank, world = ranks.rank_and_world_size()
    if rank is None:  # the group is gone, or was never made: its launcher still says it
        rank, world = ranks.rank(), ranks.world_size()
    if rank is not None:
        facts |= {"rank": rank, "world_size": world}
    if found.call is not None and found.call.input.is_cuda:
        device = found.call.input.device
        with suppress(RuntimeError):  # after an assert on the device every question fails
            facts |= {
                "cudnn_version": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
                "gpu": torch.cuda.get_device_name(device),
                "free_memory": int(torch.cuda.mem_get_info(device)[0]),
            }
    return facts
