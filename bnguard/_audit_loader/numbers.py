"""A loader given by numbers: check what was asked, split it, and describe every part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bnguard._audit_loader.names import default_names, mode_of
from bnguard._audit_loader.sharding import law_for, law_named
from bnguard._audit_loader.sharding.workers import worker_sharding
from bnguard._audit_loader.splits import LARGEST, ROUNDINGS, Split, float_sum_notes, fold_sizes, split_sizes
from bnguard._audit_loader.summary import describe, noted
from bnguard._errors import UsageError
from bnguard._facts.findings import Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._audit_loader.plan import Setup
    from bnguard._audit_loader.sharding import ShardingLaw
    from bnguard._facts.loaders import LoaderFact
    from bnguard._facts.models import Mode

MOST_SIZES = 1000
"""How many dataset sizes one range may hold: each is audited and reported on its own."""

_MOST_REPLICAS = 4096
"""Replicas are written out one by one in the report; no machine has as many devices."""


class Request(NamedTuple):
    """What was asked about numbers; ``sizes`` holds one dataset size, or a range of them."""

    sizes: range
    setup: Setup
    split: Split | None = None
    names: tuple[str, ...] = ()
    rounding: str = "random-split"
    kfold: int | None = None
    eval_names: tuple[str, ...] = ()
    mode: Mode | None = None


def parse_sizes(n: object) -> range:
    """Read ``n``: one number, a range such as ``"9..40"`` (both ends count), or a ``range`` object.

    Raises:
        UsageError: if it is no whole number from 1 to 2**63 - 1, or the range is empty or too long.

    """
    if isinstance(n, range):
        sizes = n
    elif isinstance(n, str) and ".." in n:
        low, _, high = n.partition("..")
        sizes = range(_whole_text(low), _whole_text(high) + 1)
    else:
        single = whole("n", _whole_text(n) if isinstance(n, str) else n)
        return range(single, single + 1)
    if not sizes:
        raise UsageError(f"the range {_shown(n)} holds no size", hint="write the smaller number first, as 9..40")
    whole("n", sizes[0])
    whole("n", sizes[-1])
    # A range longer than an index cannot answer len().
    if (sizes[-1] - sizes[0]) // sizes.step >= MOST_SIZES:
        raise UsageError(f"the range {_shown(n)} holds more than {MOST_SIZES:,} sizes", hint="ask for a shorter one")
    return sizes


def _shown(n: object) -> str:
    return f"{n.start}..{n.stop - 1}" if isinstance(n, range) else str(n)


def _whole_text(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise UsageError(f"{text!r} is no whole number", hint="write a size as 9, or a range as 9..40") from None


def whole(name: str, value: object, least: int = 1) -> int:
    """Return the value if it is an integer from ``least`` to 2**63 - 1, else raise UsageError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} is {value!r}, which is no whole number")
    if value < least:
        raise UsageError(f"{name} is {value}; it must be at least {least}")
    if value > LARGEST:
        raise UsageError(f"{name} is {value}, beyond 2**63 - 1, the largest length PyTorch can hold")
    return value


def check_setup(setup: Setup) -> None:
    """Raise UsageError for a number that means nothing or options that exclude each other."""
    for name in ("batch_size", "world_size", "replicas", "micro_batches"):
        whole(name, getattr(setup, name))
    whole("workers", setup.workers, least=0)
    if setup.replicas > _MOST_REPLICAS:
        raise UsageError(f"replicas is {setup.replicas}; more than {_MOST_REPLICAS:,} are not audited")
    law = law_named(setup.sharding)
    if setup.shard is not None:
        worker_sharding(setup.shard)
    for message, hint in _exclusions(setup, law):
        raise UsageError(message, hint=hint)


def _exclusions(setup: Setup, law: ShardingLaw) -> Iterator[tuple[str, str]]:
    yield from law.exclusions(setup)
    if (setup.sampler_drop_last or setup.uneven) and setup.world_size == 1:
        message = "--sampler-drop-last and --uneven mean something only with several ranks"
        yield message, "say how many with --world-size"
    if setup.iterable and (setup.sampler_drop_last or setup.uneven):
        message = "--iterable excludes --sampler-drop-last and --uneven: an IterableDataset has no sampler"
        yield message, "leave one of them out"
    if setup.shard is not None and not setup.iterable:
        message = "--shard belongs to --iterable: workers do not change the batches of a map-style dataset"
        yield message, "add --iterable, or leave --shard out"


def audit_numbers(request: Request) -> Report:
    """Return the report on loaders given by numbers; see ``facts_of`` for what it raises."""
    from bnguard._audit_loader.suggest import suggest, suggest_for_range
    from bnguard._rules import judge_loaders

    facts = facts_of(request)
    span: dict[str, Any] = {}
    if len(request.sizes) == 1:
        suggested = tuple(way for fact in facts for way in suggest(fact, request.setup))
    else:
        suggested = tuple(suggest_for_range(facts, request.setup))
        span["range"] = {"from": request.sizes[0], "to": request.sizes[-1]}
    return Report(
        command="audit-loader", loaders=facts, suggestions=suggested, findings=judge_loaders(facts), extra=span
    )


def facts_of(request: Request) -> tuple[LoaderFact, ...]:
    """Return one fact per part of the split (or group of folds) and dataset size.

    Raises:
        UsageError: if the request means nothing, or every size of a range is refused.

    """
    check_setup(request.setup)
    if request.split and request.kfold is not None:
        raise UsageError("--split and --kfold exclude each other", hint="audit one, then the other")
    if request.setup.iterable and (request.split or request.kfold is not None):
        raise UsageError("--iterable has no length to split", hint="leave --split and --kfold out")
    if request.rounding not in ROUNDINGS:
        raise UsageError(f"the rounding {request.rounding!r} is not known", hint=f"one of {', '.join(ROUNDINGS)}")
    names = _names(request)
    if len(request.sizes) == 1:
        return tuple(_at(request, request.sizes[0], names))
    found: list[LoaderFact] = []
    refused: UsageError | None = None
    for n in request.sizes:
        try:
            facts = _at(request, n, names)
        except UsageError as error:
            refused = error
        else:
            parts = [replace(f, part="" if names == ("train",) else f.name, dataset=n) for f in facts]
            found += [replace(f, name=f"{f.part} n={n}" if f.part else f"n={n}") for f in parts]
    if not found and refused:
        raise refused
    return tuple(found)


def _names(request: Request) -> tuple[str, ...]:
    parts = request.split.parts if request.split else 2 if request.kfold is not None else 1
    names = request.names or default_names(parts)
    if len(names) != parts:
        there = "is 1 part" if parts == 1 else f"are {parts} parts"
        raise UsageError(
            f"--names gives {len(names)} names, and there {there}", hint="one name for each part, in order"
        )
    if len(set(names)) != len(names):
        raise UsageError("--names gives one name twice", hint="findings are told apart by these names")
    unknown = [name for name in request.eval_names if name not in names]
    if unknown:
        raise UsageError(f"--eval {unknown[0]!r} names no part", hint=f"the parts are {', '.join(names)}")
    return names


def _at(request: Request, n: int, names: Sequence[str]) -> list[LoaderFact]:
    if request.kfold is not None:
        return _folds(request, n, names, request.kfold)
    if request.split is None:
        return [_described(request, names[0], names[0], n)]
    sizes = split_sizes(n, request.split, request.rounding)
    facts = []
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        fact = _described(request, name, name, size)
        if fact.first_single is None:
            fact = noted(fact, *_rounding_notes(request, request.split, n, i, size))
        facts.append(fact)
    if request.rounding == "random-split":
        facts[0] = noted(facts[0], *float_sum_notes(request.split))
    unshown = n - sum(sizes)
    if unshown:
        facts[-1] = noted(facts[-1], f"{unshown} of {n} samples are in no part")
    return facts


def _described(request: Request, part: str, name: str, samples: int) -> LoaderFact:
    mode = request.mode or mode_of(part, request.eval_names)
    return describe(name, mode, samples, request.setup, law_for(request.setup).notes(request.setup))


def _folds(request: Request, n: int, names: Sequence[str], folds: int) -> list[LoaderFact]:
    facts = []
    for first, last, held in fold_sizes(n, folds):
        which = f"fold {first}" if first == last else f"folds {first}-{last}"
        for part, size in zip(names, (n - held, held), strict=True):
            facts.append(_described(request, part, f"{part} ({which})", size))
    return facts


def _rounding_notes(request: Request, split: Split, n: int, part: int, size: int) -> Iterator[str]:
    """Say which other convention would leave this part with a batch of one."""
    culprits: dict[int, list[str]] = {}
    for name, rounding in ROUNDINGS.items():
        try:
            held = split_sizes(n, split, name)[part]
        except UsageError:  # that library would refuse, so it cannot surprise
            continue
        if held != size and describe("", "train", held, request.setup).first_single:
            culprits.setdefault(held, []).append(rounding.words)
    for held, words in culprits.items():
        yield f"with {' or '.join(words)} this part would hold {held} sample{'s' * (held != 1)}, and a batch of one"
