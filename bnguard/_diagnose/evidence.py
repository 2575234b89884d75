"""From what is known of a failed call to its cause: what speaks for it, how surely, what to do. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod

from bnguard import _remedies as ways
from bnguard._diagnose.classify import Classified
from bnguard._facts.diagnosis import CONTROL, Diagnosis, Hypothesis
from bnguard._facts.norm_kinds import BATCH, KINDS, NormKind
from bnguard._remedies import Advice, Remedy

MOST_ELEMENTS = 2**31 - 1
"""cuDNN counts the elements of a tensor in 32 bits."""

OLD_BATCH_LIMITS = {True: 131_070, False: 65_535}
"""Batch sizes above which releases of cuDNN refused, in training and evaluation; PyTorch 1.x worked around some."""

SMALL_BATCH_LIMIT = 1024

SURE, LIKELY, POSSIBLE, REMOTE = 0.95, 0.7, 0.4, 0.15


def judge(seen: Diagnosis, read: Classified) -> Diagnosis:
    """Return the diagnosis with cause, confidence, evidence, hypotheses and remedies.

    Args:
        seen: the facts: layer, shape, dtypes, strides, device, replays. A shape alone is enough.
        read: what the words of the error say.

    """
    known = replace(seen, cause=read.cause, code=read.code, status=read.status)
    if read.of_cudnn:
        return _judge_cudnn(known, read)
    evidence = (*_evidence(known), *_about_the_place(known, read))
    confidence = 0.0 if read.cause == "unknown" else SURE if read.reliable_place else LIKELY
    return replace(known, confidence=confidence, evidence=evidence, remedies=tuple(_advice(known)))


def _kind(d: Diagnosis) -> NormKind:
    return KINDS[d.kind] if d.kind else BATCH


def _advice(d: Diagnosis) -> Iterator[Advice]:
    for remedy in _REMEDIES.get(d.cause, ()):
        if remedy not in _MORE_VALUES or remedy.kind in _kind(d).remedies:
            yield remedy.for_case()


def _evidence(d: Diagnosis) -> Iterator[str]:
    if d.cause == "one-value-per-channel" and d.shape is not None:
        yield f"the input {d.shape} has N = {d.shape[0]} and one position: one value for each {_kind(d).per}"
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


# ---------------------------------------------------------------------------------------- cuDNN


def _judge_cudnn(d: Diagnosis, read: Classified) -> Diagnosis:
    """Weigh the reported causes of a cuDNN refusal against this call; the words of the error do not decide."""
    found = {h.cause: h for test in _TESTS for h in test(d)}
    for proven in _proven(d):  # what was tried outweighs what was reported
        found[proven.cause] = proven
    hypotheses = tuple(sorted(found.values(), key=lambda h: -h.confidence))
    best = hypotheses[0]
    remedies = [_CUDNN_REMEDIES[h.cause] for h in hypotheses]
    if any(r.succeeds and r.change == "cuDNN disabled" for r in d.replays):
        remedies.insert(0, ways.WITHOUT_CUDNN.for_case())
    if not read.reliable_place:
        remedies.insert(0, ways.BLOCKING_LAUNCH.for_case())
    evidence = [f"{best.cause}: {best.why}", *_control(d), *_about_the_place(d, read)]
    return replace(
        d,
        confidence=best.confidence,
        evidence=tuple(evidence),
        hypotheses=hypotheses,
        remedies=tuple(dict.fromkeys(remedies)),
    )


def _control(d: Diagnosis) -> Iterator[str]:
    if any(r.succeeds and r.change == CONTROL for r in d.replays):
        yield "the same call succeeds when it is repeated: the state of the device mattered, not the call alone"


def _proven(d: Diagnosis) -> Iterator[Hypothesis]:
    """Yield what the replays prove: one change made a call succeed that fails unchanged."""
    outcome = {r.change: r.succeeds for r in d.replays}
    if outcome.get(CONTROL, True):
        return
    helped = [(change, cause) for change, cause in _PROVES.items() if outcome.get(change)]
    for change, cause in helped:
        sure = SURE if len(helped) == 1 else LIKELY
        yield Hypothesis(cause, sure, f"the call fails as it was and succeeds with {change}")


_PROVES = {
    "a contiguous input": "strides",
    "float32": "dtypes",
    "another memory format": "memory-format",
    "the batch doubled": "single-sample",
}


def _single_sample(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.shape is not None and d.shape[0] == 1 and d.mode != "eval":
        yield Hypothesis("single-sample", POSSIBLE, "the batch holds one sample, which some releases refuse")


def _large_batch(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.shape is None:
        return
    n, limit = d.shape[0], OLD_BATCH_LIMITS[d.batch_statistics is not False]
    if n > limit:
        yield Hypothesis("large-batch", LIKELY, f"N = {n:,} is above {limit:,}, where releases of cuDNN refuse")
    elif n > SMALL_BATCH_LIMIT:
        yield Hypothesis("large-batch", REMOTE, f"N = {n:,} is above {SMALL_BATCH_LIMIT:,}, a limit of old releases")


def _many_elements(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.shape is not None and prod(d.shape) >= MOST_ELEMENTS:
        yield Hypothesis("many-elements", 0.8, f"{prod(d.shape):,} elements are more than 32 bits can count")


def _strides(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.memory_format == "strided":
        yield Hypothesis("strides", 0.5, f"the input's strides {d.strides} are those of no memory format")


def _dtypes(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.dtype == "bfloat16":
        yield Hypothesis("dtypes", POSSIBLE, "the input is bfloat16, which only newer cuDNN takes")
    elif d.dtype and d.param_dtype and (d.dtype, d.param_dtype) != ("float16", "float32") and d.dtype != d.param_dtype:
        yield Hypothesis("dtypes", LIKELY, f"the input is {d.dtype}, the parameters are {d.param_dtype}")
    elif d.dtype == d.param_dtype == "float16":
        yield Hypothesis("dtypes", LIKELY, "input and parameters are float16; cuDNN wants float32 parameters")


def _memory_format(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.memory_format in ("channels_last", "channels_last_3d"):
        yield Hypothesis("memory-format", 0.3, f"the input is {d.memory_format}, which some releases refuse")


def _eps(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.eps is not None and d.eps < 1e-5:
        yield Hypothesis("eps", POSSIBLE, f"eps = {d.eps:g} is below 1e-5, the least that cuDNN 7 took")


def _memory(d: Diagnosis) -> Iterator[Hypothesis]:
    if d.free_memory is not None and d.shape is not None and d.free_memory < 12 * prod(d.shape) + 2**26:
        yield Hypothesis(
            "memory", 0.6, f"only {d.free_memory / 2**20:,.0f} MiB were free: exhaustion under another name"
        )


def _build(d: Diagnosis) -> Iterator[Hypothesis]:
    versions = f"cuDNN {d.cudnn_version} on {d.gpu}" if d.cudnn_version and d.gpu else "cuDNN, CUDA, driver and card"
    yield Hypothesis("cudnn-build", 0.2, f"the versions may not fit together: {versions}")


_TESTS: tuple[Callable[[Diagnosis], Iterator[Hypothesis]], ...] = (
    _single_sample, _large_batch, _many_elements, _strides, _dtypes, _memory_format, _eps, _memory, _build,
)  # fmt: skip

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

_MORE_VALUES = (ways.MERGE_TAIL, ways.BATCH_SIZE, ways.FEWER_GROUPS, ways.LARGER_INPUT, ways.ALLOW_SINGLE_SAMPLE)
"""Against one value per statistic; the kind of the layer says which of them help."""

_REMEDIES: dict[str, tuple[Remedy, ...]] = {
    "one-value-per-channel": _MORE_VALUES,
    "dtype-mismatch": (ways.KEEP_FLOAT32, ways.CONVERT_INPUT),
    "channel-mismatch": (ways.CHANNELS_SECOND,),
    "rank-mismatch": (ways.RIGHT_DIMENSIONS, ways.BATCH_DIMENSION),
    "out-of-memory": (ways.SMALLER_BATCH, ways.FREE_GRAPHS),
    "asynchronous-cuda": (ways.BLOCKING_LAUNCH, ways.CHECK_INDICES),
    "eps-not-positive": (ways.EPS,),
}
