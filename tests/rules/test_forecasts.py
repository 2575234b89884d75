"""Rules of loaders with a model in view: pure functions of facts, tested without torch."""

from __future__ import annotations

from dataclasses import replace

import pytest

import bnguard
from bnguard._facts.findings import Finding, Severity
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.loaders import LoaderFact
from bnguard._facts.models import LayerFact, ModelFact, NormCall, SourceLine
from bnguard._rules import CATALOGUE

judge = CATALOGUE.judge_forecasts

LINE = SourceLine("model.py", 31)
ONE = SizeFact(
    1, stops=True, layer="head.2", layer_type="BatchNorm1d", num_features=16, source=LINE, error="ValueError",
    shape=(1, 16), cause="one-value", failing=("head.2", "tail.1"),
)  # fmt: skip
HOLDS = SizeFact(1, stops=False)
NUMBERS: dict[str, dict[str, object]] = {
    "DL101": {"n": 9, "batch_size": 8},
    "DL102": {"n": 9, "batch_size": 8, "mode": "eval"},
    "DL103": {"n": 9, "batch_size": 1},
    "DL104": {"n": 13, "batch_size": 16, "replicas": 4},
    "DL106": {"n": 35, "batch_size": 4, "iterable": True, "workers": 4, "shard": "ceil"},
}


def audited(**options: object) -> LoaderFact:
    (fact,) = bnguard.audit_loader(**options).loaders
    return fact


def forecast(loader: LoaderFact, one: SizeFact, **more: object) -> ForecastFact:
    fact = ForecastFact("Net", loader.name, loader.mode, stops=one.stops, called=loader.mode, sizes=(one,))
    lone = loader.first_single
    if one.stops and lone:
        fact = replace(fact, step=lone.step, steps=lone.steps, rank=lone.rank, batch_size=1, at=one)
    return replace(fact, **more)


def said(code: str, one: SizeFact, **more: object) -> Finding:
    loader = audited(**NUMBERS[code])
    (finding,) = judge([], [loader], [forecast(loader, one, **more)])
    assert finding.code == code
    return finding


@pytest.mark.parametrize("code", NUMBERS)
def test_an_error_that_names_the_layer_where_it_fails(code: str):
    finding = said(code, ONE)
    assert finding.severity is Severity.ERROR
    assert (finding.model, finding.layer, finding.location) == ("Net", "head.2", LINE)
    end = "evaluation" if code == "DL102" else "training"
    more = "(1 more layer would fail there as well)"
    ending = f"and head.2 (BatchNorm1d(16)) sees one value per channel there: {end} stops {more}"
    assert finding.message.endswith(ending)
    assert "model.eval()" not in finding.message


@pytest.mark.parametrize("code", NUMBERS)
def test_a_note_where_it_holds(code: str):
    finding = said(code, HOLDS)
    assert (finding.severity, finding.layer) == (Severity.NOTE, None)
    assert "; Net holds there" in finding.message
    assert (" in eval mode" in finding.message) is (code == "DL102")
    statistics = said(code, replace(HOLDS, single=20)).message
    assert statistics.endswith("but 20 layers take mean and variance from that one sample (BN102)")


def test_eval_is_advised_where_it_was_assumed_and_not_where_the_layers_were_seen_to_be_in_it():
    assert "call model.eval()" in (said("DL102", HOLDS).fix or "")
    assert said("DL102", HOLDS, called=None).fix is None
    assert "call model.eval()" in (said("DL102", replace(HOLDS, single=20), called=None).fix or "")


@pytest.mark.parametrize("code", NUMBERS)
def test_as_without_a_model_where_nothing_is_known(code: str):
    loader = audited(**NUMBERS[code])
    plain = bnguard.audit_loader(**NUMBERS[code]).findings
    for one in (replace(HOLDS, stops=None, unknown="?"), replace(HOLDS, batch_size=5)):
        assert judge([], [loader], [forecast(loader, one)]) == plain


def test_the_remedy_is_the_models_where_the_model_is_to_blame():
    assert "flatten(1)" in (said("DL101", replace(ONE, cause="lost-dimension", message="ValueError: 1D")).fix or "")
    assert "track_running_stats=True" in (said("DL102", ONE).fix or "")
    assert "merge" in (said("DL101", ONE).fix or "")


def test_a_stop_before_the_lone_sample():
    eight = replace(ONE, batch_size=8)
    finding = said("DL101", ONE, step=1, batch_size=8, at=eight, sizes=(eight, ONE))
    assert finding.severity is Severity.NOTE
    assert finding.message.endswith("it does not come to that, as the epoch stops at step 1")


def test_rules_to_which_the_model_makes_no_difference_speak_once():
    loader = audited(n=5, batch_size=8, drop_last=True)
    facts = [forecast(loader, HOLDS, model=name, sizes=()) for name in ("A", "B")]
    assert [f.code for f in judge([], [loader], facts)] == ["DL105"]


def test_each_model_has_a_finding_of_its_own():
    loader = audited(**NUMBERS["DL101"])
    facts = [forecast(loader, ONE, model="A"), forecast(loader, HOLDS, model="B")]
    assert [(f.model, f.severity) for f in judge([], [loader], facts)] == [("A", 3), ("B", 1)]


def test_one_model_that_trains_and_evaluates_on_a_loader_is_told_once():
    loader = audited(**NUMBERS["DL101"])
    trains = forecast(loader, replace(HOLDS, single=20), called=None)
    evaluates = replace(trains, mode="eval", sizes=(HOLDS,))
    (finding,) = judge([], [loader], [evaluates, trains])
    assert "20 layers take" in finding.message
    stops = replace(trains, mode="eval", stops=True, step=2, steps=2, rank=0, batch_size=1, at=ONE, sizes=(ONE,))
    assert [f.severity for f in judge([], [loader], [trains, stops])] == [Severity.ERROR, Severity.NOTE]


def test_a_refused_input_is_an_error_of_its_own():
    loader = audited(n=8, batch_size=8)
    at = replace(ONE, batch_size=8, cause="refused", shape=None, message="RuntimeError: wrong width")
    (finding,) = judge([], [loader], [forecast(loader, at, step=1, steps=1, batch_size=8, at=at)])
    assert (finding.code, finding.severity, finding.layer) == ("RT104", Severity.ERROR, "head.2")
    assert "step 1 of 1 (RuntimeError: wrong width): training stops" in finding.message


def model(batch_size: int, mode: str = "train") -> ModelFact:
    call = NormCall((batch_size, 16), batch_size, batch_statistics=True, raises=batch_size == 1, error="ValueError")
    layer = LayerFact(
        "head.2", "BatchNorm1d", "batch", 16, training=True, affine=True, track_running_stats=True, momentum=0.99,
        eps=1e-5, verdict="fails" if batch_size == 1 else "thin", calls=(call,), order=0, source=LINE,
    )  # fmt: skip
    return ModelFact("Net", "Net", batch_size, mode, (), "meta", (layer,), first_failure="head.2")


def test_what_is_told_of_the_model_is_not_told_again():
    loader = audited(**NUMBERS["DL101"])
    codes = [f.code for f in judge([model(1)], [loader], [forecast(loader, ONE)])]
    assert codes == ["DL101", "BN201"]
    assert [f.code for f in judge([model(1), model(1, "eval")], [loader], [forecast(loader, ONE)])] == codes
    # nobody else names the layer where no lone sample comes
    assert [f.code for f in judge([model(1)], [], [])] == ["BN101", "BN201"]
    assert [f.code for f in judge([model(4)], [], [])] == ["BN201"]
