"""Which ways out fit a call that got one value per statistic, the best one first: the circumstances decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnguard import _remedies as remedies
from bnguard._facts.situation import Situation
from bnguard._remedies import Advice

if TYPE_CHECKING:
    from bnguard._facts.norm_kinds import NormKind  # an audit of numbers does without the facts of models

ACCUMULATION = "accumulating gradients does not help: each forward still sees one sample"


def for_one_value(
    kind: NormKind,
    situation: Situation | None,
    *,
    layer: str | None = None,
    functional: bool = False,
    dimensions: int | None = None,
    tracks: bool = True,
    world_size: int = 1,
) -> tuple[Advice, ...]:
    """Return what to do, the best first.

    Args:
        kind: of the layer.
        situation: of the call, None where nothing is known of it.
        layer: its dotted name, None if not known.
        functional: whether no layer made the call, so that none can be changed.
        dimensions: of its input, None if not known.
        tracks: whether it keeps running statistics.
        world_size: processes that train.

    """
    if not kind.crosses_samples:
        spatial = dimensions is None or dimensions > 2
        fitting = (remedies.FEWER_GROUPS, *((remedies.LARGER_INPUT,) if spatial else ()))
        return tuple(remedy.for_case() for remedy in fitting if remedy.kind in kind.remedies)
    if not tracks:
        return (remedies.TRACK_STATISTICS.for_case(),)
    allow = remedies.ALLOW_SINGLE_SAMPLE.kind in kind.remedies and not functional
    return tuple(_of_a_batch(situation or Situation(), layer, allow=allow, world_size=world_size))


def _of_a_batch(at: Situation, layer: str | None, *, allow: bool, world_size: int) -> Iterator[Advice]:
    model = at.model or ""
    if at.trains is False:
        yield in_eval_mode(at)
    elif at.alone == "every-batch":
        yield from for_batches_of_one(model, allow=allow, world_size=world_size)
        return
    elif at.alone == "chunk":
        yield remedies.BATCH_SIZE.for_case(
            "choose a chunk size, or a batch size, that leaves no chunk of one sample", price=""
        )
    elif at.alone == "piece":
        yield remedies.BATCH_SIZE.for_case("choose a batch size whose pieces hold two samples or more", price="")
    elif at.alone == "between" or (at.fed is False and at.alone is None):
        yield remedies.TWO_AT_ONCE.for_case(_two_at_once(at))
    elif at.alone != "rows":
        where = f" of {at.place}" if at.place else ""
        yield remedies.MERGE_TAIL.for_case(
            f"merge the lone sample{where} into the batch before it", name=at.loader or ""
        )
        yield remedies.BATCH_SIZE.for_case()
    if allow:
        only = f", only=[{layer!r}]" if layer and at.alone in ("chunk", "rows") else ""
        yield remedies.ALLOW_SINGLE_SAMPLE.for_case(name=model, more=only)


def _two_at_once(at: Situation) -> str:
    does = remedies.TWO_AT_ONCE.does
    if at.alone == "between":
        return (
            f"{does}: no batch of {at.loader or 'the loader'} holds one, so what stands between them (a loop over "
            "pieces, a mask, a collate function) leaves it"
        )
    return f"{does}, and call {at.model or 'model'}.eval() where nothing is trained"


def for_batches_of_one(
    model: str = "", *, allow: bool = True, world_size: int = 1, samples: int | None = None
) -> Iterator[Advice]:
    """Yield what there is to choose from where every batch of a training holds one sample.

    Args:
        model: what the script calls it, '' if not known.
        allow: whether its layers can use their running statistics instead.
        world_size: processes that train.
        samples: in the dataset, None if not known.

    """
    # of the smallest batch size the tail must hold two as well
    known = samples if samples and world_size == 1 else 0
    least = next((size for size in range(2, known + 1) if known % size != 1), None)
    does = (
        f"raise batch_size to {least}"
        if least
        else "raise batch_size so that no batch, tail included, holds one sample"
    )
    yield remedies.LARGER_BATCHES.for_case(does)
    yield remedies.FREEZE.for_case(name=model)
    if allow:
        yield remedies.ALLOW_SINGLE_SAMPLE.for_case(name=model)
    yield remedies.GROUP_NORM.for_case(name=model)
    if world_size > 1:
        yield remedies.SYNC_BATCHNORM.for_case()


def in_eval_mode(at: Situation) -> Advice:
    """Return the advice to put the model in eval mode around a forward that trains nothing, or seems to."""
    model = at.model or "model"
    unless = ""
    if at.function:
        here = f"{at.function}(), which by its name trains nothing,"
    elif at.grad is False:
        here = "this forward, which records no gradients,"
    else:
        here, unless = "this forward", ", unless it trains: it is in no loop"
    return remedies.EVAL_MODE.for_case(f"call {model}.eval() before {here} and {model}.train() after it{unless}")


def for_an_unknown_batch(at: Situation, *, find_out: Advice, tail: bool, allow: bool) -> tuple[Advice, ...]:
    """Return what to do where nothing tells which batch held one sample: first how to find out, then each case's way.

    Args:
        at: the circumstances.
        find_out: what tells it.
        tail: whether it can have been the last batch.
        allow: whether the layer can use its running statistics.

    """
    model = at.model or "model"
    merge = remedies.MERGE_TAIL.for_case(
        "if it is the last one of an epoch, merge it into the one before", name=at.loader or ""
    )
    larger = remedies.LARGER_BATCHES.for_case("if each batch holds one sample, raise batch_size to 2 or more")
    evaluate = remedies.EVAL_MODE.for_case(f"if nothing is trained there, call {model}.eval() before it")
    accept = remedies.ALLOW_SINGLE_SAMPLE.for_case(
        "where neither will do, let a lone sample use the running statistics", name=at.model or ""
    )
    return (find_out, *((merge,) if tail else ()), larger, evaluate, *((accept,) if allow else ()))
