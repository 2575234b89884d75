"""The loader report on a terminal: the answer first, never wider than the terminal, never a crash."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

import bnguard
from bnguard._facts.findings import Report
from bnguard._facts.loaders import LoaderFact
from bnguard._report.formats.console.loaders import print_loaders


def shown(
    width: int = 80, encoding: str = "utf-8", quiet: bool = False, report: Report | None = None, **options
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=width, highlight=False, color_system=None)
    print_loaders(report or bnguard.audit_loader(**options), console, quiet=quiet)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_nine_at_eight():
    assert shown(n=9, batch_size=8) == (
        "✗ train: a batch of one sample comes at step 2 of 2\n"
        "\n"
        "  train  9 samples  █▁  8 + 1  ← 1 sample, step 2 of 2\n"
        "\n"
        "  error DL101  train: step 2 of 2 holds 1 sample (9 samples are 1 \u00d7 8 + 1)\n"
        "               fix: merge the lone sample into the batch before it, nothing is\n"
        "                    lost: loader = bnguard.repair.merge_tail(loader)\n"
        "\n"
        "  Ways out, cheapest first\n"
        "    1  merge the lone sample into the batch before it (9), nothing is lost\n"
        "       loader = bnguard.repair.merge_tail(loader)\n"
        "    2  spread the samples evenly over the batches (5 + 4), nothing is lost\n"
        "       loader = bnguard.repair.balance(loader)\n"
        "    3  use batch size 7 (7 + 2)\n"
        "    4  use batch size 9 (9)\n"
        "    5  set drop_last=True, which loses 1 of 9 samples each epoch (11.1%)\n"
    )


MANY: list[dict[str, object]] = [
    {"n": 9, "batch_size": 8},
    {"n": 10, "batch_size": 8},
    {"n": 6, "batch_size": 8, "split": "5:3:2"},
    {"n": 10**15 + 1, "batch_size": 8, "world_size": 4096},
    {"n": 17, "batch_size": 4, "world_size": 4, "sharding": "accelerate", "uneven": True},
    {"n": 9, "batch_size": 16, "replicas": 8},
    {"n": 33, "batch_size": 8, "micro_batches": 4, "replicas": 2},
    {"n": 35, "batch_size": 4, "iterable": True, "workers": 4, "shard": "ceil"},
    {"n": 35, "batch_size": 4, "iterable": True, "workers": 4},
    {"n": "9..400", "batch_size": 8},
    {"n": "5..90", "batch_size": 8, "split": "8:2"},
    {"n": 5, "batch_size": 8, "drop_last": True},
    {"n": 9, "batch_size": 8, "names": ["a very long name for a training split, longer than its column"]},
    {"n": 9, "batch_size": 8, "kfold": 4},
    {"n": 9, "batch_size": 1, "mode": "eval"},
]


@pytest.mark.parametrize("options", MANY)
@pytest.mark.parametrize("width", [80, 50])
def test_never_wider_than_the_terminal(options: dict[str, object], width: int):
    assert [line for line in shown(width=width, **options).splitlines() if len(line) > width] == []


@pytest.mark.parametrize("options", MANY)
def test_plain_where_the_encoding_is_plain(options: dict[str, object]):
    assert shown(encoding="ascii", **options).isascii()


def test_plain_picture():
    assert "#.  8 + 1  <- 1 sample, step 2 of 2" in shown(encoding="ascii", n=9, batch_size=8)


def test_text_of_users_is_not_markup():
    assert "[bold]x[/bold]" in shown(n=9, batch_size=8, names=["[bold]x[/bold]"])
    assert "?" in shown(encoding="ascii", n=9, batch_size=8, names=["日本"])


def test_unknown_comes_first():
    fact = LoaderFact("train", "train", None, 8, False, streams=(), unknown="the dataset has no length")
    text = shown(report=Report("audit-loader", loaders=(fact,)))
    assert text.startswith("? train: the batch sizes are not known")
    assert "the dataset has no length" in text
    assert "✓" not in text


def test_quiet_shows_findings_alone():
    assert shown(quiet=True, n=10, batch_size=8) == ""
    assert shown(quiet=True, n=9, batch_size=8).startswith("  error DL101")


def test_a_strip_marks_what_breaks():
    text = shown(n="9..28", batch_size=8)
    assert "█·······█· ······█···" in text
    assert "breaks at n = 9, 17, 25 (every 8)" in text


def test_a_long_epoch_is_abridged():
    line = shown(n=1001, batch_size=8).splitlines()[2]
    assert "████…███▁" in line
    assert "125 \u00d7 8 + 1" in line


def test_long_names_keep_what_tells_them_apart():
    facts = [
        bnguard.audit_loader(n=8, batch_size=4, name=f"loader of {script}").loaders[0]
        for script in ("a_training_script.py:31", "a_training_script.py:47", "数据数据数据数据数据.py:9")
    ]
    text = shown(report=Report("audit-loader", loaders=tuple(facts)))
    rows = [line for line in text.splitlines() if "4" in line and "8 samples" in line]
    assert [row.split("  ")[1].rpartition(":")[2].strip() for row in rows] == ["31", "47", "9"]
    assert len({Text(row[: row.index("8 samples")]).cell_len for row in rows}) == 1


def test_a_note_names_those_it_is_about_and_nobody_where_it_is_about_all():
    (fact,) = bnguard.audit_loader(n=16, batch_size=8).loaders
    facts = [
        replace(fact, name=name, notes=("for all", *notes))
        for name, notes in (("a", ("for one",)), ("b", ()), ("c", ("for two",)), ("d", ("for two",)))
    ]
    text = shown(report=Report("audit-loader", loaders=facts))
    notes = [line.removeprefix("  note     ") for line in text.splitlines() if line.startswith("  note")]
    assert notes == ["for all", "a: for one", "c, d: for two"]
