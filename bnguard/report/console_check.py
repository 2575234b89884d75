"""The report of a check for people: an answer for all that was declared, then what the answers rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from bnguard.report.console_forecasts import answer_of, sizes_text
from bnguard.report.console_loaders import LoaderPage
from bnguard.report.console_loaders import headline as loader_headline
from bnguard.report.console_models import headline as model_headline
from bnguard.report.symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from bnguard.findings import Problem, Report

MOST_NOTES = 12
MOST_PICTURES = 24
"""Beyond these, JSON holds the rest."""

Answer = tuple[Text, Text]
"""A mark, and a sentence that begins with the name of a model or a loader."""


def print_check(report: Report, console: Console, *, quiet: bool) -> None:
    """Print the report of a check.

    Args:
        report: of several models, loaders and forecasts.
        console: where to print; its width and encoding are respected.
        quiet: print the findings, and what could not be carried out, alone.

    """
    several = len(report.models) > 1
    page = LoaderPage(console, Symbols.of(console.encoding), several_models=several)
    if not quiet:
        for mark, sentence in sorted(_answers(report, page.symbols), key=lambda a: _gravity(a, page.symbols)):
            page.line(sentence, lead=mark)
        page.line(Text())
        _pictures(report, page)
        _notes(report, page)
    page.findings(report.findings)
    if not quiet:
        page.ways_out(report)
    for i, problem in enumerate(report.problems):
        if i or report.findings:
            page.line(Text())
        _problem(problem, page)


def _gravity(answer: Answer, symbols: Symbols) -> int:
    mark = answer[0].plain.strip()
    return 0 if mark == symbols.cross else 2 if mark == symbols.tick else 1


def _answers(report: Report, symbols: Symbols) -> Iterator[Answer]:
    """Yield an answer for every forecast, for what was scanned or audited by itself, and for what was not looked at."""
    for forecast in report.forecasts:
        if forecast.stops is not False:
            mark, sentence = answer_of(forecast, symbols)
            yield mark, Text.assemble((f"{forecast.model}: ", "bold"), sentence)
    yield from _holding(report, symbols)
    forecast_models = {f.model for f in report.forecasts}
    for model in report.models:
        if model.target not in forecast_models:
            yield model_headline(model, symbols)
    fed = {f.loader for f in report.forecasts}
    for loader in report.loaders:
        if loader.name not in fed:
            mine = tuple(f for f in report.findings if f.loader == loader.name)
            said = loader_headline(replace(report, loaders=(loader,), findings=mine), symbols)
            cut = said.plain.index(" ") + 1
            mark, sentence = said[:cut], said[cut:]
            if not sentence.plain.startswith(f"{loader.name}: "):
                sentence = Text.assemble((f"{loader.name}: ", "bold"), sentence)
            yield mark, sentence
    for problem in report.problems:
        yield Text("! ", "bold yellow"), Text.assemble((problem.entry, "bold"), (": not checked, see below", "yellow"))


def _holding(report: Report, symbols: Symbols) -> Iterator[Answer]:
    """Yield one answer for each model on all loaders on which it does not stop."""
    for model in dict.fromkeys(f.model for f in report.forecasts):
        mine = [f for f in report.forecasts if f.model == model and f.stops is False]
        if mine:
            sizes = sorted({s.batch_size for f in mine for s in f.sizes}, reverse=True)
            because = f": no layer fails at batch sizes {sizes_text(sizes)}" if sizes else ""
            names = ", ".join(f.loader for f in mine)
            sentence = Text(f"does not stop on {names}{because}", style="green")
            yield Text(f"{symbols.tick} ", "green"), Text.assemble((f"{model}: ", "bold"), sentence)


def _pictures(report: Report, page: LoaderPage) -> None:
    if not report.loaders:
        return
    page.pictures(replace(report, loaders=report.loaders[:MOST_PICTURES]))
    if len(report.loaders) > MOST_PICTURES:
        more = len(report.loaders) - MOST_PICTURES
        page.line(Text(f"and {more} more loaders in --format json", style="dim"), indent=2)
        page.line(Text())


def _notes(report: Report, page: LoaderPage) -> None:
    """Print how the answers were found, each sentence once, with the models that it is said of."""
    every = {f.model for f in report.forecasts}
    said: dict[str, list[str]] = {}
    for forecast in report.forecasts:
        for note in forecast.notes:
            models = said.setdefault(note, [])
            if forecast.model not in models:
                models.append(forecast.model)
    for note, models in list(said.items())[:MOST_NOTES]:
        more = f" and {len(models) - 3} more" if len(models) > 3 else ""
        whose = "" if set(models) == every else f"{', '.join(models[:3])}{more}: "
        page.line(Text(f"{whose}{note}", style="dim"), indent=2, lead=Text(f"{'note':9}", "dim"))
    if len(said) > MOST_NOTES:
        page.line(Text(f"and {len(said) - MOST_NOTES} more notes in --format json", style="dim"), indent=11)
    page.notes(report, most=MOST_NOTES)
    if said and not any(x.notes or x.unknown or x.unused for x in report.loaders):
        page.line(Text())


def _problem(problem: Problem, page: LoaderPage) -> None:
    page.line(Text(problem.error), indent=2, lead=Text(f"{problem.entry}  ", "bold yellow"))
    for row in (problem.detail or "").rstrip().splitlines():
        page.line(Text(row, style="dim"), indent=4, hanging=8)
    lead = Text("hint: ", "bold")
    for row in (problem.hint or "").splitlines():
        page.line(Text(row), indent=4, lead=lead)
        lead = Text()
