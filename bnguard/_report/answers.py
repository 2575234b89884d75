"""The answers of a report, one sentence each, as every format for people says them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from bnguard._facts.findings import Severity
from bnguard._facts.loaders import dimensions
from bnguard._report.words import counted, named, number
from bnguard._rules import rule_of
from bnguard._rules.registry import work_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bnguard._facts.findings import Finding, Report
    from bnguard._facts.forecasts import ForecastFact, SizeFact
    from bnguard._facts.loaders import LoaderFact
    from bnguard._facts.models import LayerFact, ModelFact

State = Literal["breaks", "unknown", "warns", "holds"]
"""What an answer comes to, the gravest first."""

MOST_SIZES = 6
"""Batch sizes named in an answer."""

MOST_LOADERS = 12
"""More loaders than these get one answer together."""


@dataclass(frozen=True)
class Answer:
    """What the reader asked, answered in one sentence.

    Attributes:
        state: what it comes to.
        before: the sentence up to the layer's name, or all of it.
        layer: the name of the layer that breaks, None where none does.
        after: what follows the layer's name.
        subject: the model or the loaders it is about; '' where the sentence speaks for all of them.

    """

    state: State
    before: str
    layer: str | None = None
    after: str = ""
    subject: str = ""

    @property
    def sentence(self) -> str:
        """The whole sentence, without its subject."""
        return self.before + (self.layer or "") + self.after


def of_report(report: Report) -> list[Answer]:
    """Return the answers for all forecasts, and for each model or loader that no forecast speaks of, gravest first.

    A check may hold hundreds of forecasts: there a model has one answer for all loaders on which it does not stop.
    """
    shown = [f for f in report.forecasts if report.command != "check" or not _is_plain(f)]
    answers = [of_forecast(f) for f in shown]
    answers += _holding([f for f in report.forecasts if f not in shown])
    answers += beside_forecasts(report)
    answers += [Answer("warns", "not checked, see below", subject=p.entry) for p in report.problems]
    return [*overview(report), *gravest_first(answers)]


def gravest_first(answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers by state, those of one state in their order."""
    return sorted(answers, key=lambda a: get_args(State).index(a.state))


def beside_forecasts(report: Report) -> list[Answer]:
    """Return the answers for the models and the loaders that no forecast speaks of."""
    foreseen = {f.model for f in report.forecasts}
    answer = in_brief if overview(report) else with_counts
    of_models = [answer(model) for model in report.models if model.target not in foreseen]
    return [*of_models, *_of_other_loaders(report)]


def overview(report: Report) -> list[Answer]:
    """Return one answer for all models together, where there are several and no forecast speaks of them."""
    if len(report.models) < 2 or report.forecasts:
        return []
    found = Counter(of_model(model).state for model in report.models)
    sizes = dict.fromkeys(map(_size, report.models))
    at = f" at {next(iter(sizes))}" if len(sizes) == 1 else ""
    everyone = f"{len(report.models):,} models"
    unknown = f"{found['unknown']:,} of {everyone}"
    if found["breaks"]:
        also = f", and {found['unknown']:,} of them could not be followed" if found["unknown"] else ""
        does = "fails" if found["breaks"] == 1 else "fail"
        return [Answer("breaks", f"{found['breaks']:,} of {everyone} {does}{at}{also}")]
    if found["unknown"]:
        return [Answer("unknown", f"{unknown} could not be followed; none of the others fails{at}")]
    return [Answer("holds", f"none of {everyone} fails{at}")]


def _of_other_loaders(report: Report) -> Iterator[Answer]:
    fed = {f.loader for f in report.forecasts}
    others = [x for x in report.loaders if x.name not in fed]
    together = "range" in report.extra or len(others) > MOST_LOADERS
    for loaders in [others] if together and others else [[loader] for loader in others]:
        names = {loader.name for loader in loaders}
        related = tuple(f for f in report.findings if f.loader in names)
        answer = of_loaders(replace(report, loaders=loaders, findings=related))
        yield answer if together else replace(answer, subject=loaders[0].name)


# ---------------------------------------------------------------------------------------- models


def of_model(model: ModelFact) -> Answer:
    """Answer whether this batch size breaks a layer of the model, and which first."""
    size = _size(model)
    if not model.layers:
        return Answer("holds", f"{size} cannot break a normalisation layer.", subject=model.target)
    first = next((x for x in model.layers if x.name == model.first_failure and x.verdict == "fails"), None)
    if first is not None:
        return Answer("breaks", "", first.label, f" fails first at {size}: {first.type} {_meets(first)}.", model.target)
    if model.method == "none":
        return Answer("unknown", f"not known whether {size} breaks a layer.", subject=model.target)
    chosen = next((x for x in model.layers if x.verdict == "data-dependent"), None)
    if chosen is not None:
        return Answer(
            "unknown", f"not known whether {size} breaks {chosen.label}: {chosen.reason}.", subject=model.target
        )
    if any(x.verdict == "unknown" for x in model.layers):
        followed = f"no layer fails at {size} as far as the forward could be followed."
        return Answer("unknown", followed, subject=model.target)
    return Answer("holds", f"no layer fails at {size}.", subject=model.target)


def _size(model: ModelFact) -> str:
    return f"batch size {model.batch_size}{'' if model.mode == 'train' else ' in eval mode'}"


def in_brief(model: ModelFact) -> Answer:
    """Return the answer of one of several models, in few words: the batch size is said of all of them together."""
    answer = of_model(model)
    if answer.state == "holds" and not model.layers:
        return replace(answer, before="no normalisation layer")
    if answer.state == "holds":
        return replace(answer, before=f"no layer fails ({_verdicts(model)})")
    if answer.state == "unknown" and model.trace_error:
        return replace(answer, before=f"could not be followed: {model.trace_error}")
    first = next((x for x in model.failing if x.name == model.first_failure), None)
    if first is None:
        return answer
    all_of_them = "" if len(model.failing) == 1 else f"; {len(model.failing):,} layers fail"
    return replace(answer, after=f" {_meets(first, why=False)}{all_of_them}")


def with_counts(model: ModelFact) -> Answer:
    """Return the answer of a model, and a second sentence that counts its layers by verdict."""
    answer = of_model(model)
    if answer.layer is None:
        return replace(answer, before=f"{answer.before} {counts(model)}")
    return replace(answer, after=f"{answer.after} {counts(model)}")


def _meets(layer: LayerFact, *, why: bool = True) -> str:
    """Return what a layer that fails meets, in words that follow its name or its class."""
    call = next((c for c in layer.calls if c.raises), None)
    if call is None and layer.reason:
        return "refuses its input" + (f" ({layer.reason})" if why else "")
    if call is None:
        return "is refused by PyTorch as it is configured"
    return f"gets {dimensions(call.shape)}, {number(call.values_per_statistic, 'value')} per {layer.norm.per}"


def counts(model: ModelFact) -> str:
    """Return how many layers the model has, by verdict."""
    if not model.layers:
        return "It has none."
    return f"{number(len(model.layers), 'normalisation layer')}: {_verdicts(model)}."


def _verdicts(model: ModelFact) -> str:
    from bnguard._facts.models import Verdict  # an audit of numbers does without the facts of models

    found = Counter(x.verdict for x in model.layers)
    return ", ".join(counted(verdict, found[verdict]) for verdict in get_args(Verdict) if found[verdict])


# ---------------------------------------------------------------------------------------- forecasts


def of_forecast(forecast: ForecastFact) -> Answer:
    """Answer whether and where an epoch of this loader stops; the sentence does not name the model."""
    return replace(_of_forecast(forecast), subject=forecast.model)


def _is_plain(forecast: ForecastFact) -> bool:
    """Whether the forecast can be told in one breath with others: batches come, and none of them stops."""
    return forecast.stops is False and bool(forecast.sizes)


def _of_forecast(forecast: ForecastFact) -> Answer:
    what = f"{_work(forecast)} on {forecast.loader}"
    if forecast.stops is None:
        return Answer("unknown", f"not known whether {what} stops: {forecast.unknown or ''}")
    if forecast.stops and forecast.at is not None:
        ends = f" {meets(forecast.at)}{_ground(forecast)}"
        return Answer("breaks", f"{what} stops{_place(forecast)}: ", forecast.at.label, ends)
    shown = _sizes_text([s.batch_size for s in forecast.sizes])
    if not shown:
        return Answer("warns", f"{what} gives no batch")
    sizes = "sizes" if len(forecast.sizes) > 1 else "size"
    if forecast.ground == "seen":
        return Answer("holds", f"{what} does not stop: it ran with batches of {shown} (seen)")
    because = f"no layer fails at the batch {sizes} it gives ({shown})"
    return Answer("holds", f"{what} does not stop in epoch {forecast.epoch}: {because}{_ground(forecast)}")


def _work(forecast: ForecastFact) -> str:
    """Return what stops; a model that is in training mode need not be trained there."""
    at = forecast.at.situation if forecast.at else None
    if forecast.mode == "train" and at is not None and at.trains is False:
        return "evaluation in training mode" if at.evaluates else "a forward in training mode"
    return work_of(forecast.mode)


def _ground(forecast: ForecastFact) -> str:
    """Say what the answer rests on; on shapes, as most do, nothing need be said."""
    if forecast.ground == "assumed":
        return f" (assumed: {forecast.assumption})"
    return " (seen)" if forecast.ground == "seen" else ""


def _holding(forecasts: Sequence[ForecastFact]) -> Iterator[Answer]:
    """Yield one answer for each model on all loaders on which it does not stop for the same reason."""
    for model, ground in dict.fromkeys((f.model, _ground(f)) for f in forecasts):
        related = [f for f in forecasts if (f.model, _ground(f)) == (model, ground)]
        sizes = sorted({s.batch_size for f in related for s in f.sizes}, reverse=True)
        because = f"no layer fails at batch size{'s' * (len(sizes) > 1)} {_sizes_text(sizes)}{ground}"
        yield Answer("holds", f"does not stop on {', '.join(f.loader for f in related)}: {because}", subject=model)


def _sizes_text(sizes: Sequence[int]) -> str:
    """Return batch sizes in a line; of many the first few."""
    return ", ".join(f"{n:,}" for n in sizes[:MOST_SIZES]) + (", …" if len(sizes) > MOST_SIZES else "")


def _place(forecast: ForecastFact) -> str:
    text = f" at {forecast.place} of epoch {forecast.epoch}" if forecast.place else ""
    low, high = forecast.ranks or (0, 0)
    if high > low:
        text += f" on ranks {low:,} to {high:,}"
    elif forecast.rank:
        text += f" on rank {forecast.rank:,}"
    if forecast.micro_batch is not None:
        text += f", in micro-batch {forecast.micro_batch:,}"
    if forecast.replica is not None:
        text += f", in replica {forecast.replica:,}"
    return text


def meets(at: SizeFact) -> str:
    """Return what the first layer to raise meets, in words that follow its name."""
    if at.cause == "one-value" and at.shape:
        return f"gets {dimensions(at.shape)}, one value per {at.per}"
    return at.sees


# ---------------------------------------------------------------------------------------- loaders


def of_loaders(report: Report) -> Answer:
    """Answer for all loaders of the report together whether a batch of one sample comes."""
    errors = [f for f in report.findings if f.severity is Severity.ERROR]
    warnings = [f for f in report.findings if f.severity is Severity.WARNING]
    unknown = [fact for fact in report.loaders if fact.unknown]
    if errors:
        return _found("breaks", errors, report)
    if unknown:
        sentence = "the batch sizes are not known, so nothing is said to be safe"
        return Answer("unknown", sentence, subject=named([fact.name for fact in unknown]))
    if warnings:
        return _found("warns", warnings, report)
    return _without_findings(report.loaders)


def _without_findings(loaders: Sequence[LoaderFact]) -> Answer:
    """Answer from the facts alone: a finding may have been ignored, what it says remains."""
    smallest = min((fact.smallest for fact in loaders if fact.smallest), default=0)
    if not smallest:
        return Answer("warns", "no batch at all", subject=named([fact.name for fact in loaders]))
    hidden = [fact.name for fact in loaders if fact.first_single and fact.mode == "train"]
    if hidden:
        sentence = "a batch of one sample comes in training, though no finding shows it"
        return Answer("warns", sentence, subject=named(hidden))
    single = [fact.name for fact in loaders if fact.first_single]
    if single:
        return Answer("holds", "batches of one sample, safe after model.eval()", subject=named(single))
    return Answer("holds", f"no batch of one sample; the smallest holds {smallest:,}")


def _found(state: State, findings: Sequence[Finding], report: Report) -> Answer:
    """Return what the rule of the first finding says, of all loaders of which it says so."""
    first, rule = findings[0], rule_of(findings[0].code)
    sentence = rule.headline if rule else first.code
    found = {f.loader for f in findings}
    if "range" in report.extra:
        span = report.extra["range"]
        broken = len({fact.dataset for fact in report.loaders if fact.name in found})
        return Answer(state, sentence, subject=f"{broken} of {span['to'] - span['from'] + 1} sizes")
    single = next((fact.first_single for fact in report.loaders if fact.name == first.loader), None)
    if rule and rule.headline_at and single and len(findings) == 1:
        sentence = rule.headline_at.format(step=f"{single.step:,}", steps=f"{single.steps:,}")
    alike = dict.fromkeys(f.loader or "" for f in findings if f.code == first.code)
    return Answer(state, sentence, subject=named(list(alike)))
