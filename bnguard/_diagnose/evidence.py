"""From what is known of a failed call to its cause: what speaks for it, how surely, what to do. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod

from bnguard import _remedies as ways
from bnguard._diagnose.classify import Classified
from bnguard._diagnose.module_path import RECURRENT, Operation
from bnguard._facts.diagnosis import CONTROL, Diagnosis, Hypothesis
from bnguard._facts.norm_kinds import BATCH, KINDS, NormKind
from bnguard._facts.situation import Situation
from bnguard._remedies import Advice, Remedy
from bnguard._rules.ways_out import ACCUMULATION, for_an_unknown_batch, for_one_value

_MOST_ELEMENTS = 2**31 - 1
"""cuDNN counts the elements of a tensor in 32 bits."""

_OLD_BATCH_LIMITS = {True: 131_070, False: 65_535}
"""Batch sizes above which releases of cuDNN refused, in training and evaluation; PyTorch 1.x worked around some."""

_SMALL_BATCH_LIMIT = 1024

_PROVEN, _SURE, _LIKELY, _POSSIBLE, _SUSPECTED, _REMOTE = 1.0, 0.95, 0.7, 0.4, 0.3, 0.15


@dataclass(frozen=True)
class Pasted:
    """What a pasted text tells besides the facts of the call.

    Attributes:
        other: what it shows to have failed in place of a normalisation.
        script: the script that was run.
        notebook: whether it was run in a notebook.
        batch_size: as it is set in the code, the command or the settings that the text shows.
        drops_last: whether a loader drops its last batch.
        evaluating: what a progress bar is called whose name tells of an evaluation.
        squeezes: whether its code calls ``squeeze()`` without a dimension.

    """

    other: Operation | None = None
    script: str | None = None
    notebook: bool = False
    batch_size: int | None = None
    drops_last: bool = False
    evaluating: str | None = None
    squeezes: bool = False


def assess(seen: Diagnosis, read: Classified, pasted: Pasted | None = None) -> Diagnosis:
    """Return the diagnosis with cause, confidence, evidence, hypotheses and remedies.

    Args:
        seen: the facts: layer, shape, dtypes, strides, device, replays. A shape alone is enough.
        read: what the words of the error say.
        pasted: what else a text tells, None where more than a text is at hand.

    """
    known = replace(seen, cause=read.cause, code=read.code, status=read.status)
    if read.of_cudnn:
        return _assess_cudnn(known, read, pasted)
    kind = KINDS[known.kind] if known.kind else BATCH
    return replace(
        known,
        confidence=_confidence(known, read),
        evidence=(*_of_the_log(known, kind, pasted), *_evidence(known, kind), *_about_the_place(known, read)),
        remedies=_remedies(known, kind, read, pasted),
    )


def _confidence(d: Diagnosis, read: Classified) -> float:
    if read.cause == "unknown":
        return 0.0
    outcome = {r.change: r.succeeds for r in d.replays}
    if d.suspected:
        return _SUSPECTED
    if outcome.get(CONTROL) is False and any(outcome.get(change) for change in _CONFIRMS.get(read.cause, ())):
        return _PROVEN
    return _SURE if read.reliable_place else _LIKELY


def _remedies(d: Diagnosis, kind: NormKind, read: Classified, pasted: Pasted | None) -> tuple[Advice, ...]:
    if d.cause == "one-value-per-channel":
        return _against_one_value(d, kind, pasted)
    if d.cause == "rank-mismatch":
        return tuple(r.for_case() for r in _for_the_dimensions(d, read, pasted))
    fitting = [r.for_case() for r in _REMEDIES.get(d.cause, ())]
    if pasted is not None and pasted.other is not None:
        return tuple(advice for advice in fitting if advice.kind != ways.KEEP_FLOAT32.kind)
    if pasted is not None and d.suspected:
        does = f"let bnguard run name the layer, if it is a normalisation: bnguard run {pasted.script or 'SCRIPT'}"
        return (ways.REPLAY.for_case(does), *reversed(fitting))
    return tuple(fitting)


def _against_one_value(d: Diagnosis, kind: NormKind, pasted: Pasted | None) -> tuple[Advice, ...]:
    at = d.situation or Situation()
    if pasted is not None and kind.crosses_samples:
        if pasted.evaluating:
            does = f"call {at.model or 'model'}.eval() before what is shown as {pasted.evaluating!r} begins"
            return (ways.EVAL_MODE.for_case(does),)
        if at.alone is None and at.trains is not False:
            allow = ways.ALLOW_SINGLE_SAMPLE.kind in kind.remedies
            find_out = _find_the_batch(pasted)
            return for_an_unknown_batch(at, find_out=find_out, tail=not pasted.drops_last, allow=allow)
    return for_one_value(
        kind,
        at,
        layer=d.layer,
        functional=d.layer_type == "functional",
        dimensions=len(d.shape) if d.shape else None,
        tracks=not (d.mode == "eval" and d.batch_statistics),
        world_size=d.world_size or (2 if d.rank else 1),
    )


def _for_the_dimensions(d: Diagnosis, read: Classified, pasted: Pasted | None) -> tuple[Remedy, ...]:
    """Return what helps against the wrong number of dimensions: where one is missing, it is that of the batch."""
    got = len(d.shape) if d.shape else read.dimensions
    if got == 1:
        lost = pasted is None or pasted.squeezes or (d.situation is not None and d.situation.alone == "tail")
        both = (ways.KEEP_BATCH_DIMENSION, ways.BATCH_DIMENSION)
        return both if lost else both[::-1]
    if got == 3:
        return (ways.BATCH_DIMENSION, ways.RIGHT_DIMENSIONS)
    return (ways.RIGHT_DIMENSIONS, ways.BATCH_DIMENSION)


def _find_the_batch(pasted: Pasted) -> Advice:
    if pasted.notebook and pasted.script is None:
        return ways.FIND_THE_BATCH.for_case(
            "let bnguard say which batch holds one sample, the last or each: bnguard.forecast(model, loader)"
        )
    return ways.FIND_THE_BATCH.for_case(
        f"let bnguard preflight say which batch holds one sample, the last or each: bnguard preflight "
        f"{pasted.script or 'SCRIPT'}"
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


def _of_the_log(d: Diagnosis, kind: NormKind, pasted: Pasted | None) -> Iterator[str]:
    """Say from what in the log the circumstances are known."""
    at = d.situation
    if pasted is None or at is None or d.cause != "one-value-per-channel" or not kind.crosses_samples:
        return
    size = pasted.batch_size
    if at.function is not None:
        why = "and the layer used batch statistics, as it does without model.eval()"
        yield f"{at.function} does not train, by its name, {why}"
    elif pasted.evaluating is not None:
        yield f"the progress bar {pasted.evaluating!r} is, by its name, not that of a training"
    elif at.trains is False:
        yield "the model was called by hand, outside any loop"
    elif at.alone == "tail":
        shorter = (
            f"the batch size is {size}, so this batch was a shorter one" if size else "the words say: the last one"
        )
        yield f"a progress bar stands at {at.place}" if at.place else shorter
    elif at.alone == "every-batch":
        first = f"it failed at {at.place}, and the first batch is no shorter than the others"
        yield "the batch size is 1" if size == 1 else first
    elif at.alone in _CUTS:
        yield _CUTS[at.alone]


_CUTS = {
    "rows": "the rows of this layer are nodes or points: the data choose how many there are",
    "piece": "DataParallel cuts each batch into one piece for each device",
    "chunk": "the layer is given one chunk of the batch at a time",
}


def _about_the_place(d: Diagnosis, read: Classified) -> Iterator[str]:
    if not read.reliable_place:
        yield "CUDA reports some errors later than they happen: the layer shown may not be the one that failed"
    elif d.place == "unknown" or (d.layer is None and d.candidates):
        yield "the error does not carry the frames of the layer that failed"


def _assess_cudnn(d: Diagnosis, read: Classified, pasted: Pasted | None) -> Diagnosis:
    """Weigh the reported causes of a cuDNN refusal against this call; the words of the error do not decide."""
    elsewhere = pasted is not None and pasted.other is not None
    # of two hypotheses of one cause the last counts: what was tried outweighs what was reported
    all_of_them = chain(_as_reported(d, pasted), _of_the_sizes(d), _of_the_tensors(d), _of_the_build(d), _proven(d))
    weighed = {h.cause: h for h in all_of_them if not (elsewhere and h.cause in _OF_BATCH_NORM)}
    hypotheses = tuple(sorted(weighed.values(), key=lambda h: -h.confidence))
    best = hypotheses[0]
    evidence = [] if d.shape is None and d.dtype is None else [f"{best.cause}: {best.why}"]
    if any(r.succeeds and r.change == CONTROL for r in d.replays):
        evidence.append(
            "the same call succeeds when it is repeated: the state of the device mattered, not the call alone"
        )
    return replace(
        d,
        confidence=best.confidence,
        evidence=(*evidence, *_about_the_place(d, read)),
        hypotheses=hypotheses,
        remedies=tuple(dict.fromkeys(_cudnn_remedies(d, read, hypotheses, pasted))),
    )


def _cudnn_remedies(
    d: Diagnosis, read: Classified, hypotheses: Sequence[Hypothesis], pasted: Pasted | None
) -> Iterator[Advice]:
    script = pasted.script if pasted and pasted.script else "SCRIPT"
    if not read.reliable_place:
        blocking = f"CUDA_LAUNCH_BLOCKING=1 bnguard run {script}"
        yield ways.BLOCKING_LAUNCH.for_case(
            f"run again with CUDA_LAUNCH_BLOCKING=1: then the traceback shows the call that failed: {blocking}"
            if pasted
            else None
        )
    elif pasted is not None and pasted.other is None:
        yield ways.REPLAY.for_case(
            "let bnguard run repeat the failed call with one thing changed at a time, and say what helps: "
            f"bnguard run {script}"
        )
    if any(r.succeeds and r.change == "cuDNN disabled" for r in d.replays):
        yield ways.WITHOUT_CUDNN.for_case()
    for h in hypotheses:
        advice = _CUDNN_REMEDIES[h.cause]
        yield advice if pasted is None else replace(advice, does=f"for {h.cause}: {advice.does}")


_OF_BATCH_NORM = ("single-sample", "large-batch", "dtypes")


def _as_reported(d: Diagnosis, pasted: Pasted | None) -> Iterator[Hypothesis]:
    """Yield what others found behind these words, and how to tell, where nothing is known of the call itself.

    The order is that of public reports of the error in a batch normalisation.
    """
    if d.shape is not None or d.dtype is not None or d.replays:
        return
    size = pasted.batch_size if pasted is not None else None
    alone = size == 1 or (d.situation is not None and d.situation.alone is not None)
    lone = "the last batch of an epoch, or with batch_size=1"
    why = "the text tells of a batch of one sample" if alone else f"if it fails only in {lone}"
    yield Hypothesis("single-sample", _POSSIBLE if alone else 0.25, why)
    yield Hypothesis("memory", 0.2, "if a smaller batch runs, or nvidia-smi shows a full card")
    yield from _large_batch(size)
    recurrent = pasted is not None and pasted.other is not None and pasted.other.title == RECURRENT
    why = "if it runs with .contiguous() after a permute, transpose, expand or chunk"
    yield Hypothesis("strides", _SUSPECTED if recurrent else 0.12, why)
    yield Hypothesis("dtypes", 0.11, "if it runs in float32, without half() and autocast")
    yield Hypothesis("cudnn-build", 0.1, "if a single call on random numbers fails too, in a fresh process")


def _large_batch(n: int | None) -> Iterator[Hypothesis]:
    limits = f"{_SMALL_BATCH_LIMIT:,} with cuDNN 5, 65,535 in evaluation or 131,070 in training until PyTorch 1.4"
    if n is None:
        yield Hypothesis("large-batch", 0.15, f"if N is above {limits}")
    elif n > _SMALL_BATCH_LIMIT:
        sure = _POSSIBLE if n > min(_OLD_BATCH_LIMITS.values()) else _SUSPECTED
        yield Hypothesis("large-batch", sure, f"the batch size is {n:,}, and releases refuse above {limits}")


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
    if d.shape is None and d.dtype is None and not d.replays:
        return
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
    "out-of-memory": (ways.SMALLER_BATCH, ways.FREE_GRAPHS),
    "asynchronous-cuda": (ways.BLOCKING_LAUNCH, ways.CHECK_INDICES),
    "eps-not-positive": (ways.EPS,),
}
