"""Several models in one report: how many fail in the first line, failures first, one paragraph a rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

import bnguard
from bnguard._facts.findings import Report
from bnguard._report.answers import overview
from bnguard._report.render import render_as

FILE = "twelve_models.py"


@pytest.fixture(scope="module")
def twelve() -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent)
        return bnguard.scan(FILE)


def lines(report: Report, **options: bool) -> list[str]:
    return render_as("console", report, width=80, **options).splitlines()


def test_twelve_models_are_one_page(twelve: Report, golden: Callable[[str, str], None]) -> None:
    golden("scan-twelve-models.txt", render_as("console", twelve, width=80))
    shown = lines(twelve)
    assert len(twelve.models) == 12
    assert len(shown) <= 60
    assert max(map(len, shown)) <= 80
    assert shown[0] == "✗ 6 of 12 models fail at batch size 1, and 1 of them could not be followed"


def test_failures_come_first_and_each_model_has_a_line(twelve: Report) -> None:
    answers = [line for line in lines(twelve)[1:] if line[:1] in tuple("✗?!✓")]
    assert "".join(line[0] for line in answers) == "✗✗✗✗✗✗?✓✓✓✓✓"
    assert {line[2:].partition(":")[0] for line in answers} == {m.cls for m in twelve.models}


@pytest.mark.parametrize("quiet", [False, True])
def test_every_finding_names_its_model(twelve: Report, quiet: bool) -> None:
    text = " ".join(lines(twelve, quiet=quiet)).partition("one model with its")[0]
    said: dict[str, set[str]] = {}
    for paragraph in re.split(r"  (?=(?:error|warning|note) [A-Z]{2}\d)", text)[1:]:
        classes = {m.cls for m in twelve.models if re.search(rf"\b{m.cls}\b(?!\()", paragraph)}
        assert classes
        said.setdefault(paragraph.split()[1], set()).update(classes)
    expected: dict[str, set[str]] = {}
    for finding in twelve.findings:
        expected.setdefault(finding.code, set()).add(str(finding.model).partition(":")[2])
    assert said == expected


def test_a_rule_says_its_sentence_once(twelve: Report) -> None:
    text = " ".join(" ".join(lines(twelve)).split())
    assert text.count("one value per channel has no variance") == 1
    assert "as well: head.4 in Head; head.1, head.4 in OtherHead; pool.2 in Pooled fix:" in text


def test_models_of_several_files_keep_their_files(twelve: Report) -> None:
    other = replace(twelve.models[0], target="other.py:Net")
    assert "✗ twelve_models.py:Head: head.1" in "\n".join(lines(replace(twelve, models=[*twelve.models, other])))


def test_the_next_command_shows_one_model_with_its_layers(twelve: Report) -> None:
    assert lines(twelve)[-3].split(": ")[-1] == f"bnguard scan {FILE}:Head"


def test_objects_have_no_command() -> None:
    assert "bnguard scan" not in "\n".join(lines(bnguard.scan([nn.BatchNorm1d(4), nn.Linear(4, 4)], (4,))))


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("Head", "1 of 2 models fails at batch size 1"),
        ("NotFollowed", "1 of 2 models could not be followed; none of the others fails at batch size 1"),
        ("LikeKeras", "none of 2 models fails at batch size 1"),
    ],
)
def test_the_first_line_counts(twelve: Report, kept: str, said: str) -> None:
    models = [m for m in twelve.models if m.cls in (kept, "Convolution")]
    (answer,) = overview(replace(twelve, models=models))
    assert answer.sentence == said
    assert lines(replace(twelve, models=models))[0][2:] == said


def test_one_model_has_no_overview(twelve: Report) -> None:
    assert overview(replace(twelve, models=twelve.models[:1])) == []


def test_a_remedy_of_other_numbers_is_no_reason_to_repeat_a_rule_for_another_model() -> None:
    class Wider(nn.Sequential):
        pass

    models = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), Wider(nn.Conv2d(3, 4, 4), nn.BatchNorm2d(4))]
    report = bnguard.scan(models, (3, 4, 4), batch_size=2)
    assert len({f.fix for f in report.findings}) == len(report.findings) == 2
    text = "\n".join(lines(report))
    assert text.count("estimates mean and variance") == 1
    assert "as well: 1 in Wider" in text
