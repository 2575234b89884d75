"""Phrases about facts that several formats use: no markup, no opinion."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from bnguard._facts.findings import Severity
from bnguard._facts.loaders import dimensions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._facts.findings import Report
    from bnguard._facts.loaders import LoaderFact, Stream
    from bnguard._facts.models import ModelFact
    from bnguard._rules import Rule

HOW_TO_GIVE_INPUTS = (
    "another input: --input 3,224,224 (no batch dimension), or a function bnguard_inputs(batch_size) in the file"
)


def number(count: int, word: str) -> str:
    """Return how many: ``1 layer``, ``2,048 layers``."""
    return f"{count:,} {word}{'s' * (count != 1)}"


def named(names: Sequence[str], most: int = 3) -> str:
    """Return names in a line; of many the first few: ``a, b, c and 2 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def totals(report: Report) -> str:
    """Return how many findings there are of each severity: ``1 error, 0 warnings, 2 notes``."""
    text = ", ".join(number(report.count(s), s.label) for s in sorted(Severity, reverse=True))
    return f"{text}, {len(report.problems):,} not carried out" if report.problems else text


def found(report: Report) -> str | None:
    """Return how many findings there are, and of them ``bnguard fix`` carries out, as a clause before its command.

    ``Found 2 errors``, ``Found 1 error, fixable with``, ``Found 2 errors and 1 note, 1 fixable with``; None for a
    single finding with nothing to carry out, which is told already.
    """
    if not report.fixable and len(report.findings) < 2:
        return None
    counts = [number(report.count(s), s.label) for s in sorted(Severity, reverse=True) if report.count(s)]
    some = f"{len(report.fixable):,} " if len(report.fixable) < len(report.findings) else ""
    total = ", ".join(counts[:-1]) + (" and " if counts[1:] else "") + counts[-1]
    return f"Found {total}, {some}fixable with" if report.fixable else f"Found {total}"


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of an indented text, each as one line."""
    return [" ".join(p.split()) for p in textwrap.dedent(text).strip().split("\n\n")]


def remedies_of(rule: Rule) -> list[tuple[str, str | None]]:
    """Return what helps where a rule speaks, the cheapest first: a sentence with the price, and the line of Python."""
    return [(f"{r.does}{', ' if r.price else ''}{r.price}", r.line()) for r in rule.remedies]


def advice_of(rule: Rule) -> list[str]:
    """Return what to do where a rule speaks, a paragraph each: the remedies, then what else there is to mind."""
    remedies = [f"{does[0].upper()}{does[1:]}{f': {line}' if line else '.'}" for does, line in remedies_of(rule)]
    return [*remedies, *paragraphs(rule.fix)]


def examples_of(rule: Rule) -> list[tuple[str, str]]:
    """Return the wrong and the right example of a rule, each with its title."""
    both = (("Wrong", rule.example.wrong), ("Right", rule.example.right))
    return [(title, textwrap.dedent(code).strip()) for title, code in both]


# ---------------------------------------------------------------------------------------- models


def counted(verdict: str, count: int) -> str:
    """Return how many layers come to a verdict: ``1 fails``, ``5 fail``, ``15 single-sample``."""
    return f"{count:,} {'fail' if verdict == 'fails' and count > 1 else verdict}"


def inputs_text(model: ModelFact) -> str | None:
    """Return what forward was given and how it was followed; None where nothing was given."""
    if not model.inputs:
        return None
    shapes = ", ".join(
        (f"{i.name}=" if i.name else "") + dimensions(i.shape) + ("" if i.dtype == "float32" else f" {i.dtype}")
        for i in model.inputs
    )
    how = {
        "meta": "followed on shapes alone",
        "fake": "followed on shapes alone",
        "real": "run on the CPU",
        "none": "not followed",
    }[model.method]
    source = model.inputs[0].source
    if source == "assumed":
        example = ",".join(map(str, model.inputs[0].shape[1:])) or "…"
        return f"input {shapes} assumed, {how}; give yours with --input {example}"
    return f"input {shapes} ({source}), {how}"


def trace_error_text(model: ModelFact) -> str | None:
    """Return why the forward could not be followed to its end, None where it could."""
    if not model.trace_error:
        return None
    stopped = "the forward could not be followed to its end: " if model.inputs else ""
    return f"{stopped}{model.trace_error}"


def needs_inputs(model: ModelFact) -> bool:
    """Whether another input may be what this model wants."""
    followed = model.method != "none" or bool(model.first_failure)
    return not followed and bool(model.layers) and (bool(model.inputs) or not model.trace_error)


# ---------------------------------------------------------------------------------------- loaders


def samples_text(fact: LoaderFact) -> str:
    """Return how many samples the loader draws from."""
    if fact.samples is None:
        return "? samples"
    return number(fact.samples, "sample")


def ranks_text(fact: LoaderFact, stream: Stream) -> str:
    """Return which ranks and workers have this plan; '' where there is one of each."""
    parts = []
    if fact.world_size > 1:
        low, high = stream.ranks
        everyone = (low, high) == (0, fact.world_size - 1)
        span = f"{low:,}" if low == high else f"{low:,}-{high:,}"
        parts.append(f"each of {fact.world_size:,} ranks" if everyone else f"rank{'s' * (low != high)} {span}")
    if stream.workers:
        low, high = stream.workers
        parts.append(f"worker {low}" if low == high else f"each of workers {low}-{high}")
    return ", ".join(parts)


def single_place(fact: LoaderFact, stream: Stream) -> str | None:
    """Return where in this stream the loader's first single sample comes, None where it comes in another or nowhere."""
    single = fact.first_single
    if single is None or not stream.ranks[0] <= single.rank <= stream.ranks[1]:
        return None
    if single.worker is not None and not (stream.workers and stream.workers[0] == single.worker):
        return None
    place = f"1 sample, step {single.step:,} of {single.steps:,}"
    if single.replica is not None:
        place += f", replica {single.replica}"
    elif single.micro_batch is not None:
        place += f", micro-batch {single.micro_batch}"
    return place


def remarks(fact: LoaderFact) -> Iterator[tuple[str, str]]:
    """Yield what else there is to know of a loader: ``unknown``, ``note`` or ``unused``, and a sentence."""
    if fact.unknown:
        yield "unknown", fact.unknown
    for note in fact.notes:
        yield "note", note
    if fact.unused and fact.samples:
        yield "unused", f"{fact.unused:,} of {fact.samples:,} samples are not shown in an epoch"


def holds_one(stream: Stream, run: int) -> bool:
    """Whether a replica or a micro-batch of this run of batches gets one sample."""
    if stream.micro_batches is not None:
        pieces, _ = stream.micro_batches[run]
        if any(size == 1 for size, _ in pieces):
            return True
        return stream.replica_batches is not None and any(1 in sizes for sizes, _ in stream.replica_batches)
    return stream.replica_batches is not None and 1 in stream.replica_batches[run][0]
