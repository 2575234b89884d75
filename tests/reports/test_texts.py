"""What people paste when training stops: the first advice fits what the cause turned out to be; nobody is blamed idly.

Each situation is retold from a public thread, in words and code of our own; ``source`` is the thread.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bnguard._cli.app import run
from bnguard._explain_error import diagnose_text
from bnguard._facts.diagnosis import Diagnosis, headline
from bnguard._remedies import REMEDIES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXTS = Path(__file__).parent / "texts"
KNOWN = {
    "name", "source", "found", "text",  # what happened
    "cause", "layer", "candidates", "shape", "blamed", "likeliest", "at_most",  # what is found out of it
    "first", "offers", "silent", "says", "unsaid",  # what is advised and said, and what is not
}  # fmt: skip


def _reports() -> list[dict[str, Any]]:
    files = sorted(TEXTS.glob("*.toml"))
    return [report for file in files for report in tomllib.loads(file.read_text(encoding="utf-8"))["report"]]


REPORTS = _reports()


def diagnosed(report: dict[str, Any]) -> Diagnosis:
    found = diagnose_text(report["text"])
    assert found is not None
    return found


def said(d: Diagnosis) -> str:
    return " ".join(d.text().split())


each = pytest.mark.parametrize("report", REPORTS, ids=lambda r: r["name"])


def test_the_situations_are_whole() -> None:
    names = [report["name"] for report in REPORTS]
    assert len(names) == len(set(names)) >= 25
    for report in REPORTS:
        assert set(report) <= KNOWN, report["name"]
        assert report["source"].startswith("https://"), report["name"]
        assert report["found"], report["name"]
        kinds = {report.get("first"), *report.get("offers", ()), *report.get("silent", ())} - {None}
        assert kinds <= set(REMEDIES), report["name"]
        assert report.get("blamed", True) == ("first" in report and report.get("blamed") is not False), report["name"]


@each
def test_the_first_advice_fits(report: dict[str, Any]) -> None:
    kinds = [advice.kind for advice in diagnosed(report).remedies]
    assert kinds[:1] == [report["first"] for _ in kinds[:1] if "first" in report], kinds
    assert set(report.get("offers", ())) <= set(kinds)


@each
def test_what_does_not_help_is_not_advised(report: dict[str, Any]) -> None:
    kinds = {advice.kind for advice in diagnosed(report).remedies}
    assert not kinds & set(report.get("silent", ()))


@each
def test_the_cause_and_the_layer_are_read(report: dict[str, Any]) -> None:
    found = diagnosed(report)
    assert found.cause == report.get("cause", "one-value-per-channel")
    if "layer" in report:
        assert (found.layer, found.candidates) == (report["layer"], ())
    if "candidates" in report:
        assert list(found.candidates) == report["candidates"]
    if "shape" in report:
        assert list(found.shape or ()) == report["shape"]
    if "likeliest" in report:
        assert found.hypotheses[0].cause == report["likeliest"]
    assert found.confidence <= report.get("at_most", 1)


@each
def test_nobody_is_blamed_without_a_sign(report: dict[str, Any]) -> None:
    found = diagnosed(report)
    if report.get("blamed", True):
        assert "normalisation layer is in sight" not in headline(found)
    else:
        assert (found.code, found.layer, found.suspected) == (None, None, False)
        assert headline(found).startswith(("no normalisation layer is in sight", "nothing in this error points to"))


@each
def test_what_is_said(report: dict[str, Any]) -> None:
    text = said(diagnosed(report))
    for words in report.get("says", ()):
        assert words in text, text
    for words in report.get("unsaid", ()):
        assert words not in text, text
    assert all(len(line) <= 80 for line in diagnosed(report).text().splitlines())


@pytest.mark.parametrize("name", ["bar-before-its-last-step", "default-of-the-parser", "one-line", "recurrent-layer"])
def test_the_command_says_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = next(r for r in REPORTS if r["name"] == name)
    log = tmp_path / "train.log"
    log.write_text(report["text"], encoding="utf-8")
    assert run(["explain-error", str(log)]) == 0
    assert capsys.readouterr().out == f"{diagnosed(report).text()}\n"


# ------------------------------------------------------------------- each of them, as other places would print it


def _quoted(text: str) -> str:
    return "".join(f"> {line}" for line in text.splitlines(keepends=True))


def _spaced(text: str) -> str:
    return text.replace("\n", "\n\n")


def _stamped(text: str) -> str:
    return "".join(f"2024-05-01T12:00:00.1234567Z {line}" for line in text.splitlines(keepends=True))


def _composed(text: str) -> str:
    return "".join(f"trainer-1  | {line}" for line in text.splitlines(keepends=True))


def _coloured(text: str) -> str:
    return "".join(f"\x1b[31m{line}\x1b[0m\n" for line in text.splitlines())


FRAMED = [r for r in REPORTS if '  File "' in r["text"] and "[rank" not in r["text"] and "\n\n  File" not in r["text"]]


@pytest.mark.parametrize("printed", [_quoted, _spaced, _stamped, _composed, _coloured])
@pytest.mark.parametrize("report", FRAMED, ids=lambda r: r["name"])
def test_the_way_of_pasting_changes_nothing(report: dict[str, Any], printed: Any) -> None:
    as_it_was, pasted = diagnosed(report), diagnose_text(printed(report["text"]))
    assert pasted is not None
    assert (pasted.cause, pasted.layer, pasted.candidates) == (as_it_was.cause, as_it_was.layer, as_it_was.candidates)
    assert pasted.remedies == as_it_was.remedies
