"""From what is known of a failed call to its cause: what speaks for it, how surely, what to do. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from math import prod

from bnguard import _remedies as ways
from bnguard._diagnose.classify import Classified
from bnguard._facts.diagnosis import CONTROL, Diagnosis, Hypothesis
from bnguard._facts.norm_kinds import BATCH, KINDS, NormKind
from bnguard._remedies import Advice, Remedy
from bnguard._rules.ways_out import ACCUMULATION, for_one_value

_MOST_ELEMENTS = 2**31 - 1
"""cuDNN counts the elements of a tensor in 32 bits."""

_OLD_BATCH_LIMITS = {True: 131_070, False: 65_535}
"""Batch sizes above which releases of cuDNN refused, in training and evaluation; PyTorch 1.x worked around some."""

_SMALL_BATCH_LIMIT = 1024

_PROVEN, _SURE, _LIKELY, _POSSIBLE, _REMOTE = 1.0, 0.95, 0.7, 0.4, 0.15


def assess(seen: Diagnosis, read: Classified) -> Diagnosis:
    """Return the diagnosis with cause, confidence, evidence, hypotheses and remedies.

    Args:
        seen: the facts: layer, shape, dtypes, strides, device, replays. A shape alone is enough.
        read: what the words of the error say.

    """
    known = replace(seen, cause=read.cause, code=read.code, status=read.status)
    if read.of_cudnn:
        return _assess_cudnn(known, read)
    kind = KINDS[known.kind] if known.kind else BATCH
    return replace(
        known,
        confidence=_confidence(known, read),
        evidence=(*_evidence(known, kind), *_about_the_place(known, read)),
        remedies=_remedies(known, kind),
    )


def _confidence(d: Diagnosis, read: Classified) -> float:
    if read.cause == "unknown":
        return 0.0
    outcome = {r.change: r.succeeds for r in d.replays}
    if outcome.get(CONTROL) is False and any(outcome.get(change) for change in _CONFIRMS.get(read.cause, ())):
        return _PROVEN
    return _SURE if read.reliable_place else _LIKELY


def _remedies(d: Diagnosis, kind: NormKind) -> tuple[Advice, ...]:
    if d.cause != "one-value-per-channel":
        return tuple(remedy.for_case() for remedy in _REMEDIES.get(d.cause, ()))
    return for_one_value(
        kind,
        d.situation,
        layer=d.layer,
        functional=d.layer_type == "functional",
        dimensions=len(d.shape) if d.shape else None,
        tracks=not (d.mode == "eval" and d.batch_statistics),
        world_size=d.world_size or 1,
    )


def _evidence(d: Diagnosis, kind: NormKind) -> Iterator[str]:
    if d.cause == "one-value-per-channel" and d.shape is not None:
        yield f"the input {d.shape} has N = {d.shape[0]} and one position: one value for each {kind.per}"
        if d.situation is not None and d.situation.alone == "every-batch":
            yield ACCUMULATION
    if d.cause == "dtype-mismatch" and d.dtype and d.param_dtype and d.dtype != d.param_dtype:
        yield f"the input is {d.dtype}, the parameters are {d.param_dtype}"
    if d.cause == "channel-mismatch" and d.shape is not None and len(d.shape) > 1 and d.num_features:
        yield f"dimension 1 of the input is {d.shape[1]}, the layer has {d.num_features} channels"
    if d.cause == "rank-mismatch" and d.shape is not None:
        yield f"the input {d.shape} is {len(d.shape)}-dimensional, which {d.layer_type or 'the layer'} does not take"
    if d.cause == "out-of-memory" and d.free_memory is not None:
        yield f"{d.free_memory / 2**20:,.0f} MiB were free when it failed"


def _about_the_place(d: Diagnosis, read: Classified) -> Iterator[str]:
    if not read.reliable_place:
        yield "CUDA reports some errors later than they happen: the layer shown may not be the one that failed"
    elif d.place == "unknown" or (d.layer is None and d.candidates):
        yield "the error does not carry the frames of the layer that failed"


def _assess_cudnn(d: Diagnosis, read: Classified) -> Diagnosis:
    """Weigh the reported causes of a cuDNN refusal against this call; the words of the error do not decide."""
    # of two hypotheses of one cause the last counts: what was tried outweighs what was reported
    all_of_them = chain(_of_the_sizes(d), _of_the_tensors(d), _of_the_build(d), _proven(d))
    hypotheses = tuple(sorted({h.cause: h for h in all_of_them}.values(), key=lambda h: -h.confidence))
    best = hypotheses[0]
    remedies = [_CUDNN_REMEDIES[h.cause] for h in hypotheses]
    if any(r.succeeds and r.change == "cuDNN disabled" for r in d.replays):
        remedies.insert(0, ways.WITHOUT_CUDNN.for_case())
    if not read.reliable_place:
        remedies.insert(0, ways.BLOCKING_LAUNCH.for_case())
    evidence = [f"{best.cause}: {best.why}"]
    if any(r.succeeds and r.change == CONTROL for r in d.replays):
        evidence.append(
            "the same call succeeds when it is repeated: the state of the device mattered, not the call alone"
        )
    return replace(
        d,
        confidence=best.confidence,
        evidence=(*evidence, *_about_the_place(d, read)),
        hypotheses=hypotheses,
        remedies=tuple(dict.fromkeys(remedies)),
    )


def _proven(d: Diagnosis) -> Iterator[Hypothesis]:
    """Yield what the replays prove: one change made a call succeed that fails unchanged."""
    outcome = {r.change: r.succeeds for r in d.replays}
    if outcome.get(CONTROL, True):
        return
    helped = [(change, cause) for change, cause in _PROVES.items() if outcome.get(change)]
    for change, cause in helped:
        sure = _PROVEN if len(helped) == 1 else _LIKELY
        yield Hypothesis(cause, sure, f"the call fails as it was and succeeds with {change}")


_PROVES = {
    "a contiguous input": "strides",
    "float32": "dtypes",
    "another memory format": "memory-format",
    "the batch doubled": "single-sample",
}


def _of_the_sizes(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.shape is None:
        return
    n, elements, limit = d.shape[0], prod(d.shape), _OLD_BATCH_LIMITS[d.batch_statistics is not False]
    if n == 1 and d.mode != "eval":
        yield Hypothesis("single-sample", _POSSIBLE, "the batch holds one sample, which some releases refuse")
    if n > limit:
        yield Hypothesis("large-batch", _LIKELY, f"N = {n:,} is above {limit:,}, where releases of cuDNN refuse")
    elif n > _SMALL_BATCH_LIMIT:
        yield Hypothesis("large-batch", _REMOTE, f"N = {n:,} is above {_SMALL_BATCH_LIMIT:,}, a limit of old releases")
    if elements >= _MOST_ELEMENTS:
        yield Hypothesis("many-elements", 0.8, f"{elements:,} elements are more than 32 bits can count")
    if d.free_memory is not None and d.free_memory < 12 * elements + 2**26:
        why = f"only {d.free_memory / 2**20:,.0f} MiB were free: exhaustion under another name"
        yield Hypothesis("memory", 0.6, why)


def _of_the_tensors(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.memory_format == "strided":
        yield Hypothesis("strides", 0.5, f"the input's strides {d.strides} are those of no memory format")
    elif d.memory_format in ("channels_last", "channels_last_3d"):
        yield Hypothesis("memory-format", 0.3, f"the input is {d.memory_format}, which some releases refuse")
    if d.dtype == "bfloat16":
        yield Hypothesis("dtypes", _POSSIBLE, "the input is bfloat16, which only newer cuDNN takes")
    elif d.dtype and d.param_dtype and (d.dtype, d.param_dtype) != ("float16", "float32") and d.dtype != d.param_dtype:
        yield Hypothesis("dtypes", _LIKELY, f"the input is {d.dtype}, the parameters are {d.param_dtype}")
    elif d.dtype == d.param_dtype == "float16":
        yield Hypothesis("dtypes", _LIKELY, "input and parameters are float16; cuDNN wants float32 parameters")
    if d.eps is not None and d.eps < 1e-5:
        yield Hypothesis("eps", _POSSIBLE, f"eps = {d.eps:g} is below 1e-5, the least that cuDNN 7 took")


def _of_the_build(d: Diagnosis) -> Iterator[Hypothesis]:
    versions = f"cuDNN {d.cudnn_version} on {d.gpu}" if d.cudnn_version and d.gpu else "cuDNN, CUDA, driver and card"
    yield Hypothesis("cudnn-build", 0.2, f"the versions may not fit together: {versions}")


_CUDNN_REMEDIES = {
    "single-sample": ways.MERGE_TAIL.for_case("keep single-sample batches away", price=""),
    "large-batch": ways.SPLIT_BATCH.for_case(),
    "many-elements": ways.SPLIT_BATCH.for_case(
        "split the batch, or make the input smaller, so that it has fewer than 2**31 - 1 elements"
    ),
    "strides": ways.CONTIGUOUS.for_case(),
    "dtypes": ways.KEEP_FLOAT32.for_case(),
    "memory-format": ways.CONTIGUOUS_FORMAT.for_case(),
    "eps": ways.EPS.for_case("use eps=1e-5 or more"),
    "memory": ways.FREE_MEMORY.for_case(),
    "cudnn-build": ways.UPDATE_BUILD.for_case(),
}

_CONFIRMS = {
    "one-value-per-channel": ("running statistics", "the batch doubled", "twice the positions"),
    "dtype-mismatch": ("float32",),
}
"""Replays whose success proves the cause that the words say."""

_REMEDIES: dict[str, tuple[Remedy, ...]] = {
    "dtype-mismatch": (ways.KEEP_FLOAT32, ways.CONVERT_INPUT),
    "channel-mismatch": (ways.CHANNELS_SECOND,),
    "rank-mismatch": (ways.RIGHT_DIMENSIONS, ways.BATCH_DIMENSION),
    "out-of-memory": (ways.SMALLER_BATCH, ways.FREE_GRAPHS),
    "asynchronous-cuda": (ways.BLOCKING_LAUNCH, ways.CHECK_INDICES),
    "eps-not-positive": (ways.EPS,),
}
