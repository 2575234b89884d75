"""The corpus of small training scripts is whole, its truth is what happens, and preflight says it.

``benchmarks/scripts.py`` runs them all; here a sample does, and what the comparison itself must get right.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import scripts
from scripts import Script, corpus, is_helper, really, stored, verdict

ALL = corpus()
SAMPLE = random.Random(12).sample(ALL, 12)
BOTH_OUTCOMES = [
    "accelerate", "accumulation", "architectures", "arguments", "batch_size_one", "chunks", "collate", "config",
    "counters", "cycle", "datasets", "early_exit", "ema", "export", "few_shot", "files", "frozen", "functions",
    "gan", "gathered", "graphs", "half_batch", "islice", "iterators", "kfold", "lightning", "loader_places",
    "model_kinds", "next_iter", "no_loader", "norms", "optimizers", "parallel", "plain", "prefetch", "probes",
    "processes", "progress", "retries", "rl", "rows_by_data", "samplers", "second_loader", "skip_guard", "splits",
    "stages", "streams", "teacher", "trainer_class", "try_except", "validation", "views", "workers", "zip",
]  # fmt: skip
WHERE = {"stops": "normalisation", "layers": ["1"], "loaders": ["loader"], "pass": 1, "step": 3, "fed": True}
RUNS = {"stops": None}


@pytest.mark.parametrize("script", ALL, ids=lambda s: s.name)
def test_it_compiles_and_knows_nothing_of_bnguard(script: Script) -> None:
    compile(script.source, script.name, "exec")
    assert "bnguard" not in script.source


def test_truth_has_an_entry_for_each_as_it_is_now() -> None:
    known = stored()
    assert len(ALL) >= 200
    assert sorted(known) == [s.name for s in sorted(ALL, key=lambda s: s.name)]
    assert {s.name for s in ALL if known[s.name]["source"] != s.digest} == set()


def test_each_style_holds_scripts_that_stop_and_scripts_that_run() -> None:
    known = stored()
    assert sorted({s.style for s in ALL}) == sorted(BOTH_OUTCOMES)
    for style in BOTH_OUTCOMES:
        assert {known[s.name]["stops"] is None for s in ALL if s.style == style} == {True, False}, style


def test_a_script_is_found_by_its_style_its_name_or_its_beginning() -> None:
    assert [s.name for s in corpus(["gan/fixed_noise"])] == ["gan/fixed_noise"]
    assert {s.style for s in corpus(["gan", "kfold"])} == {"gan", "kfold"}
    with pytest.raises(SystemExit, match="no script of the corpus is nothing"):
        corpus(["nothing"])


def test_what_lies_beside_a_script_is_part_of_its_digest(tmp_path: Path) -> None:
    script = Script(tmp_path / "train.py")
    script.path.write_text("# arguments: --epochs 2\nimport json\nimport no_such_package\nimport _beside\n")
    (tmp_path / "_beside.py").write_text("x = 1\n")
    before = script.digest
    (tmp_path / "_beside.py").write_text("x = 2\n")
    assert script.digest != before
    assert is_helper(tmp_path / "_beside.py")
    assert script.arguments == ["--epochs", "2"]
    assert script.missing() == ["no_such_package"]


def report(*forecasts: dict[str, Any], findings: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"forecasts": list(forecasts), "findings": list(findings)}


def forecast(stops: bool | None, layer: str | None = None, step: int | None = None) -> dict[str, Any]:
    return {
        "stops": stops,
        "layer": layer,
        "step": step,
        "loader": "loader",
        "reason": "why" if stops is None else None,
    }


@pytest.mark.parametrize(
    ("truth", "code", "said", "outcome"),
    [
        (WHERE, 1, report(forecast(True, "1", 3)), "right"),
        (WHERE, 1, report(forecast(True, "1", 2)), "wrong place"),
        (WHERE, 1, report(forecast(True, "0", 3)), "wrong place"),
        (WHERE, 1, report(forecast(True, "1", None)), "wrong place"),
        (WHERE | {"fed": False}, 1, report(forecast(True, "1", None)), "right"),
        (WHERE | {"fed": False}, 1, report(forecast(True, "1", 2)), "wrong place"),
        (WHERE | {"fed": None, "step": None}, 1, report(forecast(True, "1", 2)), "right"),
        (WHERE | {"layers": []}, 1, report(forecast(True, None, 3)), "right"),
        (WHERE | {"layers": ["net.1", "1"]}, 1, report(forecast(True, "1", 3)), "right"),
        (WHERE, 1, report(findings=({"code": "DL101", "severity": "error", "layer": None},)), "wrong place"),
        (WHERE, 0, report(forecast(False)), "wrong ✓"),
        (WHERE, 0, report(forecast(None)), "wrong ✓"),
        (WHERE, 2, report(forecast(None)), "not known"),
        (WHERE, 2, None, "refused"),
        (WHERE, None, None, "refused"),
        (WHERE, 3, None, "refused"),
        (RUNS, 0, report(forecast(False)), "right"),
        (RUNS, 1, report(forecast(True, "1", 3)), "false ✗"),
        (RUNS, 2, report(forecast(None)), "not known"),
        ({"stops": "other", "error": "TypeError"}, 2, None, "right"),
        ({"stops": "other", "error": "TypeError"}, 0, report(), "wrong ✓"),
    ],
)
def test_an_answer_is_held_against_the_truth(
    truth: dict[str, Any], code: int | None, said: dict[str, Any] | None, outcome: str
) -> None:
    assert verdict(truth, code, said, "the last line")[0] == outcome


def test_a_run_that_was_cut_short_can_go_on(tmp_path: Path) -> None:
    answer = scripts.Answer("gan/one", "gan", None, "right", 0, "")
    (tmp_path / "answers.json").write_text(json.dumps([asdict(answer)]))
    assert scripts.answers_of(tmp_path / "answers.json") == [answer]
    assert scripts.answers_of(tmp_path / "none.json") == scripts.answers_of(None) == []


def test_the_page_counts_each_style_and_names_what_is_not_right() -> None:
    answers = [
        scripts.Answer("gan/one", "gan", None, "right", 0, ""),
        scripts.Answer("gan/two", "gan", "normalisation", "wrong ✓", 0, "does not stop"),
    ]
    page = scripts.markdown(answers, [])
    assert "| gan | 2 | 1 | 1 | 1 |  |  |  |  |" in page
    assert "- `gan/two`: wrong ✓. does not stop" in page


UNUSUAL = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    def forward(self, x):
        return self.head(x)
net, caught = Net(), 0
loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_sampler=[[0, 1], [2], [3, 4], [5], [6, 7, 8]])
for (x,) in loader:
    try:
        net(x)
    except ValueError:
        caught += 1
ahead = []
for (x,) in loader:
    ahead.append(x)
    if len(ahead) == 3:
        net(ahead.pop(0))
"""


@pytest.mark.slow
def test_the_recorder_finds_the_batch_that_failed_not_the_one_given_last(tmp_path: Path) -> None:
    script = Script(tmp_path / "unusual.py")
    script.path.write_text(UNUSUAL)
    truth = really(script)
    assert truth.pop("source") == script.digest
    assert truth == {
        "stops": "normalisation", "error": "ValueError", "layers": ["head.1"], "type": "BatchNorm1d", "size": [1, 8],
        "loaders": ["loader"], "pass": 2, "step": 2, "fed": True,
    }  # fmt: skip
    script.path.write_text(UNUSUAL.partition("ahead")[0])
    assert really(script)["stops"] is None, "each error is caught"
    script.path.write_text(UNUSUAL.partition("ahead")[0] + "raise KeyError('of its own')")
    assert (really(script)["stops"], really(script)["error"]) == ("other", "'of its own'")


@pytest.mark.slow
@pytest.mark.parametrize("script", [s for s in SAMPLE if not s.missing()], ids=lambda s: s.name)
def test_what_preflight_says_is_what_happens(script: Script) -> None:
    truth = really(script)
    assert truth == stored()[script.name]
    answer = scripts.judge(script, truth, str(scripts.ROOT))
    assert answer.outcome == "right", answer
