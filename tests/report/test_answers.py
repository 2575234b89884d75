"""The answers: each of what it is about, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report.examples import sample

import bnguard
from bnguard._facts.findings import Report, Severity
from bnguard._facts.forecasts import SizeFact
from bnguard._facts.loaders import LoaderFact
from bnguard._report.answers import MOST_LOADERS, beside_forecasts, of_loaders, of_report
from bnguard._report.pictures import ranges_of


def many(count: int) -> tuple[LoaderFact, ...]:
    (fact,) = bnguard.audit_loader(n=16, batch_size=8).loaders
    return tuple(replace(fact, name=f"loader {i}") for i in range(count))


@pytest.mark.parametrize("count", [1, MOST_LOADERS, MOST_LOADERS + 1])
def test_what_breaks_elsewhere_breaks_no_loader(count: int) -> None:
    """A model's findings, and those of loaders that a forecast speaks of, are not news about the other loaders."""
    whole = sample()
    report = replace(whole, models=(), loaders=(*whole.loaders, *many(count)))
    said = beside_forecasts(report)
    assert {(a.state, a.sentence) for a in said} == {("holds", "no batch of one sample; the smallest holds 8")}
    assert len(said) == (count if count <= MOST_LOADERS else 1)


@pytest.mark.parametrize("names", [["left", "right"], ["a n=", "b n= 3"]])
def test_a_range_counts_sizes_and_not_parts(names: list[str]) -> None:
    """Whatever the parts are called: how many sizes break is a fact, and no name is read."""
    report = bnguard.audit_loader(n="9..40", batch_size=8, split="5:5", names=names)
    errors = [f for f in report.findings if f.severity is Severity.ERROR]
    broken = {x.dataset for x in report.loaders if x.name in {f.loader for f in errors}}
    assert 0 < len(broken) < len(errors)
    assert of_loaders(replace(report, findings=errors)).subject == f"{len(broken)} of 32 sizes"


def test_a_finding_that_was_ignored_leaves_no_tick() -> None:
    report = bnguard.audit_loader(n=9, batch_size=8).filtered((), ("DL1",))
    answer = of_loaders(report)
    assert (answer.state, answer.subject) == ("warns", "train")
    assert answer.sentence == "a batch of one sample comes in training, though no finding shows it"


def test_nothing_at_all_has_no_answer() -> None:
    assert beside_forecasts(Report("check")) == []


def test_a_range_has_a_cell_for_every_size() -> None:
    """Sizes that no rank can be given are cells of their own, between those that work."""
    report = bnguard.audit_loader(n="9..12", batch_size=8)
    fine, breaks = report.loaders[1], report.loaders[0]
    unknown = replace(report.loaders[3], unknown="it has no length")
    (only,) = ranges_of(replace(report, loaders=(breaks, fine, unknown)))
    assert (only.part, only.low, only.cells) == ("", 9, ("breaks", "fine", "refused", "unknown"))


def test_an_epoch_without_a_batch_gets_no_tick_where_its_finding_was_ignored() -> None:
    report = bnguard.audit_loader(n=5, batch_size=8, drop_last=True).filtered((), ("DL105",))
    assert (of_loaders(report).state, of_loaders(report).sentence) == ("warns", "no batch at all")


def test_what_a_forecast_rests_on_is_said_in_a_gathered_answer_too() -> None:
    forecast = sample().forecasts[0]
    holds = replace(forecast, stops=False, at=None, unknown=None, sizes=(SizeFact(8, stops=False),))
    guessed = replace(holds, loader="b", ground="assumed", assumption="input 3×8×8")
    empty = replace(holds, loader="c", sizes=())
    said = [a.sentence for a in of_report(Report("check", forecasts=(holds, guessed, empty)))]
    assert any("(assumed: input 3×8×8)" in sentence for sentence in said)
    assert any("gives no batch" in sentence for sentence in said)
