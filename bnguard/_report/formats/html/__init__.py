"""The report as one self-contained page: no request leaves it, and it reads the same without its script."""

from __future__ import annotations

import base64
import hashlib
import platform
from functools import cache
from typing import TYPE_CHECKING, Any

from bnguard._facts.findings import Severity
from bnguard._facts.loaders import runs_text
from bnguard._facts.models import THIN_VALUES
from bnguard._report import answers, pictures, words
from bnguard._report.characters import visible
from bnguard._report.formats.html import epoch, findings, plot
from bnguard._report.formats.html.tree import FEW, rows
from bnguard._report.moment import now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2 import Environment

    from bnguard._facts.findings import Report
    from bnguard._report.formats import Context
    from bnguard._report.formats.html.findings import Anchors

ENDINGS = (".html", ".htm")


def render(context: Context) -> str:
    """Return the report as an HTML document.

    Text from outside (names, messages, paths) is escaped, and isolated from the direction of the text around it.
    """
    from bnguard import __version__

    report = context.report
    environment = _environment()
    style, script = _source(environment, "page.css"), _source(environment, "page.js")
    anchors = _anchors(report)
    sentences = answers.of_report(report)
    asked = context.asked or _looked_at(report)
    command = f"bnguard {report.command} {asked}".rstrip()
    return environment.get_template("page.html").render(
        report=report,
        version=__version__,
        python=platform.python_version(),
        made=now(),
        asked=asked,
        style=_trusted(style),
        script=_trusted(script),
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        heading=f"bnguard {report.command}",
        title=f"{_plain(sentences[0])} \u00b7 {command}" if sentences else command,
        answers=sentences,
        tally={severity.label: report.count(severity) for severity in Severity},
        sections=findings.sections_of(report, anchors),
        ways=_suggestions(report),
        fixable=words.found(report) if report.fixable else None,
        ranges=list(pictures.ranges_of(report)) if "range" in report.extra else [],
        models=list(_models(report, anchors)),
        notes=list(dict.fromkeys(note for f in report.forecasts for note in f.notes)),
    )


def _looked_at(report: Report) -> str:
    """Return the names of the models, or of the loaders where there are none."""
    return words.named([m.target for m in report.models] or [x.name for x in report.loaders])


def _plain(answer: answers.Answer) -> str:
    return f"{answer.subject}: {answer.sentence}" if answer.subject else answer.sentence


@cache
def _environment() -> Environment:
    import jinja2  # comes with torch; nothing but this format needs it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__, "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words=words, plan=epoch, picture=plot, series=pictures.series, meets=answers.meets)
    environment.globals.update(
        runs_text=runs_text, shown=findings.SHOWN, thin_values=THIN_VALUES, number=words.number, filtered=FEW
    )
    return environment


def _shown(value: Any) -> Any:  # noqa: ANN401 - whatever a template prints
    """Return a text with what HTML forbids, or what turns other words around, made visible; markup as it is."""
    return visible(value) if type(value) is str else value


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, name)
    return text.replace("\r\n", "\n").strip()


def _trusted(text: str) -> Any:  # noqa: ANN401 - markupsafe belongs to jinja2 and is not imported for a type
    """Mark a file of ours as markup, which is not escaped."""
    from markupsafe import Markup

    return Markup(text)


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy calls this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _anchors(report: Report) -> Anchors:
    wanted = {(f.model, f.layer) for f in report.findings}
    found: Anchors = {}
    for m, model in enumerate(report.models):
        for i, layer in enumerate(model.layers):
            if (model.target, layer.name) in wanted:
                found.setdefault((model.target, layer.name), f"m{m}-{i}")
    return found


def _models(report: Report, anchors: Anchors) -> Iterator[dict[str, object]]:
    for m, model in enumerate(report.models):
        on_page = {
            layer.name: anchor
            for layer in model.layers
            if (anchor := anchors.get((model.target, layer.name), "")).startswith(f"m{m}-")
        }
        few = len(model.layers) <= 300
        yield {"fact": model, "rows": list(rows(model, on_page)), "plot": plot.plot_of(model), "few": few}


def _suggestions(report: Report) -> dict[str, list[object]]:
    """Return the suggestions for each loader, cheapest first as they come."""
    by_loader: dict[str, list[object]] = {}
    for suggestion in report.suggestions:
        by_loader.setdefault(suggestion.loader, []).append(suggestion)
    return by_loader
