"""Annotations and the job summary of GitHub Actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from report.examples import sample
from report.runner import commands

from bnguard._errors import UsageError
from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.models import SourceLine
from bnguard._remedies import Advice
from bnguard._report.render import Destination, ReportOptions, emit, render_as


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/my net.py").touch()
    (tmp_path / "bnguard.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def layers(count: int, severity: Severity = Severity.ERROR, one_line: bool = False) -> list[Finding]:
    return [
        Finding(
            "BN101", severity, f"bn{i} fails", model="net.py:Net", layer=f"bn{i}",
            layer_line=SourceLine("net.py", 7 if one_line else 7 + i),
        )
        for i in range(count)
    ]  # fmt: skip


def test_whole_outputs(golden: Callable[[str, str], None], folder: Path) -> None:
    golden("everything.github.txt", render_as("github", sample()))
    golden("everything.summary.md", render_as("summary", sample()))


def test_an_annotation_stands_at_the_line(folder: Path) -> None:
    (first, *_) = [c for c in commands(render_as("github", sample())) if c.name == "error" and "file" in c.properties]
    assert first.properties == {"file": "src/my net.py", "line": "23", "title": "DL101 lone-sample-in-training"}
    assert first.data == "train: step 2 of 2 holds 1 sample, and head.2 stops there\nmerge it"


def test_ten_of_a_kind_and_the_rest_in_a_line() -> None:
    text = render_as(
        "github", Report("scan", findings=[*layers(13), *layers(12, Severity.WARNING), *layers(1, Severity.NOTE)])
    )
    kinds = [c.name for c in commands(text)]
    assert [kinds.count(k) for k in ("error", "warning", "notice")] == [10, 10, 1]
    assert text.splitlines()[-2:] == [
        "bnguard: 3 errors, 2 warnings without an annotation: GitHub shows 10 of a kind for a step",
        "bnguard: 13 errors, 12 warnings, 1 note",
    ]


def test_layers_built_at_one_line_share_an_annotation() -> None:
    (error,) = [
        c
        for c in commands(render_as("github", Report("scan", findings=layers(13, one_line=True))))
        if c.name == "error"
    ]
    assert error.data == "bn0 fails.\nThe same of bn1, bn2, bn3, bn4, bn5 and 7 more"


def test_nothing_found_is_one_line() -> None:
    assert render_as("github", Report("scan")) == "bnguard: 0 errors, 0 warnings, 0 notes\n"


def test_problems_are_annotations_too_and_share_the_room() -> None:
    report = replace(sample(), findings=layers(13), problems=sample().problems * 4)
    kinds = [c.name for c in commands(render_as("github", report))]
    assert kinds.count("error") == 10
    assert "7 errors without an annotation" in render_as("github", report)


def test_the_summary_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "summary.md"
    page.write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    emit(sample(), ReportOptions((Destination("github", tmp_path / "out.txt"),)))
    assert page.read_text().startswith("# Before\n## bnguard: 1 error, 1 warning, 2 notes")
    emit(sample(), ReportOptions((Destination("json", tmp_path / "out.json"),)))
    assert page.read_text().count("## bnguard") == 1
    twice = (Destination("github", tmp_path / "a"), Destination("github", tmp_path / "b"))
    emit(sample(), ReportOptions(twice))
    assert page.read_text().count("## bnguard") == 2


def test_the_summary_is_a_format_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    emit(sample(), ReportOptions((Destination("summary", tmp_path / "page.md"),)))
    assert (tmp_path / "page.md").read_text() == render_as("summary", sample())
    assert not (tmp_path / "summary.md").exists()


def test_the_summary_answers_what_no_forecast_speaks_of() -> None:
    text = render_as("summary", replace(sample(), forecasts=(), problems=()))
    assert "- 🛑 1 of 2 models fails at batch size 1, and 1 of them could not be followed" in text
    assert "- 🛑 **src/my net.py:Net**: **head.2** gets 1×128, 1 value per channel" in text
    assert "- 🛑 **train**: a batch of one sample comes at step 2 of 2\n" in text
    assert "- ❔ **val**: the batch sizes are not known" in text
    assert "**train**: a batch" not in render_as("summary", sample())


def test_a_summary_that_cannot_be_written_is_one_line_and_costs_no_annotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none/summary.md"))
    with pytest.raises(UsageError, match=r"cannot write .*summary\.md: No such file") as error:
        emit(sample(), ReportOptions((Destination("github"),)))
    assert error.value.hint == "GITHUB_STEP_SUMMARY names the file; unset it to do without"
    assert capsysbinary.readouterr().out.decode() == render_as("github", sample())


def test_the_summary_stays_below_what_the_runner_takes() -> None:
    long = [replace(f, cause="x" * 5000, remedies=(Advice("kind", "|" * 5000),)) for f in layers(5000)]
    assert len(render_as("summary", Report("scan", findings=long)).encode()) < 2**20
