"""The first single sample of a loader: what it is, where it comes and why, and how grave it is with a model in view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bnguard._facts.findings import Consequence, Finding, Severity
from bnguard._facts.loaders import TIMES, LoaderFact
from bnguard._remedies import FEWER_GROUPS, KEEP_BATCH_DIMENSION, TRACK_STATISTICS, Advice
from bnguard._rules.registry import ForecastCheck, LoaderCheck, Rule, layer_and_class, work_of
from bnguard._rules.ways_out import in_eval_mode

if TYPE_CHECKING:
    from bnguard._facts.forecasts import ForecastFact, SizeFact

_AFTER_EVAL = Consequence("safe only after model.eval()", joint=": ")
"""What is said of an evaluation loader as long as no model is in view."""


def finding_of(
    fact: LoaderFact, rule: Rule, cause: str, *remedies: Advice, severity: Severity | None = None
) -> Finding:
    """Return what a rule says of a loader; of a single sample in evaluation, what it says without a model in view."""
    alone = fact.mode == "eval" and fact.first_single is not None
    return Finding(
        rule.code,
        rule.severity if severity is None else severity,
        cause,
        consequence=_AFTER_EVAL if alone else None,
        remedies=remedies,
        loader=fact.name,
        loader_line=fact.source,
    )


def gravity_of(fact: LoaderFact, rule: Rule) -> Severity:
    """Return a warning in evaluation: a single sample is no error there as long as model.eval() may be called."""
    return Severity.WARNING if fact.mode == "eval" else rule.severity


def samples_text(count: int) -> str:
    """Return a number of samples in words."""
    return f"{count:,} sample{'s' * (count != 1)}"


def place_of(fact: LoaderFact) -> str:
    """Return the place of the first single sample: ``step 2 of 2 on each of 4 ranks``."""
    single = fact.first_single
    assert single is not None
    text = f"step {single.step:,} of {single.steps:,}"
    if fact.world_size > 1:
        stream = next(s for s in fact.streams if s.ranks[0] <= single.rank <= s.ranks[1])
        everyone = stream.ranks == (0, fact.world_size - 1)
        each = f"each of {fact.world_size:,} ranks"
        text += f" on {each if everyone else f'rank {single.rank:,} of {fact.world_size:,}'}"
    if single.worker is not None:
        text += f", from worker {single.worker},"
    return text


def _per_rank(fact: LoaderFact) -> int:
    """Return how many samples the rank with the first single sample gets in all."""
    single = fact.first_single
    return sum(s.total * s.width for s in fact.streams if single and s.ranks[0] <= single.rank <= s.ranks[1])


def arithmetic_of(fact: LoaderFact) -> str:
    """Return the arithmetic behind a tail of one, where there is one batch size."""
    if not fact.batch_size or fact.batch_size == 1 or fact.samples is None:
        return "as the batch sampler yields it" if fact.borders else "as the dataset yields it"
    if fact.divided:
        return f"{fact.samples:,} samples in batches of {fact.batch_size:,} for all ranks together"
    samples = _per_rank(fact)
    if samples % fact.batch_size != 1 or any(s.steps > 1 and len(s.batches) > 2 for s in fact.streams):
        return f"{fact.samples:,} samples, batch size {fact.batch_size:,}"
    of = f" of the {fact.samples:,}" if fact.world_size > 1 and samples != fact.samples else ""
    if samples == 1:
        return f"it is the only sample{of and ' of this rank'}"
    full = samples // fact.batch_size
    return f"{samples:,} samples{of} are {full:,} {TIMES} {fact.batch_size:,} + 1"


def is_in_a_piece(fact: LoaderFact) -> bool:
    """Whether the single sample is a replica's, a micro-batch's or a rank's share of a larger batch."""
    single = fact.first_single
    return single is not None and (single.size > 1 or (fact.divided and samples_of_the_step(fact) > 1))


def samples_of_the_step(fact: LoaderFact) -> int:
    """Return how many samples all ranks together get at the step of the first single sample."""
    single = fact.first_single
    total = 0
    for stream in fact.streams:
        before = 0
        for size, count in stream.batches:
            if single and before < single.step <= before + count:
                total += size * (stream.ranks[1] - stream.ranks[0] + 1)
            before += count
    return total


def only_batches_of_one(fact: LoaderFact) -> bool:
    """Whether every batch holds one sample because of the batch size, not because few are left."""
    if fact.unknown or not fact.streams or any(size != 1 for s in fact.streams for size, _ in s.batches):
        return False
    if fact.divided:
        return False  # a rank's share of a larger batch: DL104
    steps = max(s.steps for s in fact.streams)
    return steps > 0 and (fact.batch_size == 1 or (fact.batch_size is None and steps > 1))


def is_a_tail(fact: LoaderFact) -> bool:
    """Whether the single sample is a batch of its own, left over at the end."""
    return fact.first_single is not None and not is_in_a_piece(fact) and not only_batches_of_one(fact)


def is_from_a_worker(fact: LoaderFact) -> bool:
    """Whether the single sample comes from a worker that makes batches of its own."""
    return fact.first_single is not None and fact.first_single.worker is not None


def with_model(check: LoaderCheck) -> ForecastCheck:
    """Return a check that finds what ``check`` finds, as grave as it is for the model at hand."""

    def judged(loader: LoaderFact, forecast: ForecastFact, rule: Rule) -> Iterator[Finding]:
        for finding in check(loader, rule):
            yield _in_view(finding, loader, forecast)

    return judged


def _in_view(finding: Finding, loader: LoaderFact, forecast: ForecastFact) -> Finding:
    one, single = forecast.size(1), loader.first_single
    if one is None or one.stops is None:
        return finding
    if one.stops and not forecast.stops:  # whether that batch comes is not known
        return finding
    if forecast.stops is None and forecast.ground == "assumed":  # it holds with the guessed input, not with every one
        return replace(finding, severity=Severity.WARNING, model=forecast.model)
    if not one.stops:
        return _holds(finding, forecast, one)
    elsewhere = single is not None and (single.step, single.rank) != (forecast.step, forecast.rank)
    if elsewhere and forecast.place is not None:
        after = Consequence(f"it does not come to that, as the epoch stops at step {forecast.step:,}")
        return replace(finding, severity=Severity.NOTE, consequence=after, remedies=(), model=forecast.model)
    return _fails(finding, loader, forecast, one)


def _fails(finding: Finding, loader: LoaderFact, forecast: ForecastFact, one: SizeFact) -> Finding:
    layer = layer_and_class(one.label, one.layer_type, one.num_features)
    end = "the script stops" if one.situation and one.situation.trains is False else f"{work_of(loader.mode)} stops"
    more = len(one.failing) - 1
    if more > 0:
        end += f" ({more:,} more layer{'s' * (more > 1)} would fail there as well)"
    return replace(
        finding,
        severity=Severity.ERROR,
        consequence=Consequence(f"{layer} {one.sees} there: {end}", joint=", and "),
        remedies=_of_the_model(one, loader) or finding.remedies,
        model=forecast.model,
        layer=one.layer,
        layer_line=one.source,
    )


def _of_the_model(one: SizeFact, loader: LoaderFact) -> tuple[Advice, ...]:
    """Return what helps where the model is to blame rather than the loader, else nothing."""
    if one.cause == "lost-dimension":
        return (KEEP_BATCH_DIMENSION.for_case(),)
    if one.per == "group":  # with more samples nothing is raised, and the output is the bias all the same
        return (FEWER_GROUPS.for_case(),)
    if loader.mode == "train" and one.situation is not None and one.situation.trains is False:
        return (in_eval_mode(one.situation),)
    if loader.mode == "eval" and one.per == "channel":
        does = f"let {one.label} keep running statistics (track_running_stats=True) and be in eval mode here"
        return (TRACK_STATISTICS.for_case(does),)
    return ()


def _holds(finding: Finding, forecast: ForecastFact, one: SizeFact) -> Finding:
    mode = {"eval": " in eval mode", None: " in the modes its layers have"}.get(forecast.called, "")
    after = f"holds there{mode}"
    if one.single:
        from bnguard._rules.batch_size import SINGLE_SAMPLE

        count = f"{one.single:,} layers take" if one.single > 1 else "1 layer takes"
        after += f", but {count} mean and variance from that one sample ({SINGLE_SAMPLE})"
    return replace(
        finding,
        severity=Severity.NOTE,
        consequence=Consequence(after, of_model=True),
        remedies=finding.remedies if one.single or forecast.called == "eval" else (),
        model=forecast.model,
    )
