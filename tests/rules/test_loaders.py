"""Every DL rule: loaders that it speaks about, and loaders that it leaves alone."""

from __future__ import annotations

import pytest

import bnguard
from bnguard._facts.findings import Severity
from bnguard._facts.loaders import LoaderFact, Stream
from bnguard._rules import CATALOGUE

RULES = [rule for rule in CATALOGUE if rule.subject == "loader"]

TRAIN = {"n": 9, "batch_size": 8}
ITERABLE = {"iterable": True, "workers": 4, "shard": "ceil"}

FIRES: dict[str, list[dict[str, object]]] = {
    "DL101": [
        TRAIN,
        {"n": 1, "batch_size": 8},
        {"n": 33, "batch_size": 8, "world_size": 4},
        {"n": 17, "batch_size": 4, "world_size": 4, "sharding": "accelerate", "uneven": True},
        {"n": 17, "batch_size": 8, "world_size": 2, "sharding": "accelerate-split", "uneven": True},
        {"n": 9, "batch_size": 8, "iterable": True},
    ],
    "DL102": [TRAIN | {"mode": "eval"}, {"n": 6, "batch_size": 8, "split": "5:3:2"}],
    "DL103": [{"n": 9, "batch_size": 1}, {"n": 9, "batch_size": 1, "drop_last": True}],
    "DL104": [
        {"n": 9, "batch_size": 16, "replicas": 8},
        {"n": 40, "batch_size": 10, "replicas": 4},
        {"n": 16, "batch_size": 4, "world_size": 4, "sharding": "accelerate-split"},
        {"n": 14, "batch_size": 4, "world_size": 2, "sharding": "accelerate-split", "micro_batches": 2},
        {"n": 8, "batch_size": 8, "micro_batches": 8},
        {"n": 11, "batch_size": 4, "world_size": 4, "sharding": "accelerate-dispatch", "iterable": True,
         "replicas": 2},
        {"n": 9, "batch_size": 16, "replicas": 8, "mode": "eval"},
    ],
    "DL105": [
        {"n": 5, "batch_size": 8, "drop_last": True},
        {"n": 40, "batch_size": 16, "drop_last": True, "world_size": 4},
        {"n": 3, "batch_size": 2, "split": "8:1:1"},
    ],
    "DL106": [
        {"n": 35, "batch_size": 4, **ITERABLE},
        {"n": 5, "batch_size": 4, "iterable": True, "workers": 1},
        {"n": 35, "batch_size": 4, **ITERABLE, "mode": "eval"},
    ],
    "DL107": [{"n": 34, "batch_size": 32}],
    "DL108": [TRAIN | {"drop_last": True}, TRAIN | {"drop_last": True, "mode": "eval"}],
}  # fmt: skip

SILENT: dict[str, list[dict[str, object]]] = {
    "DL101": [
        {"n": 10, "batch_size": 8},
        TRAIN | {"drop_last": True},
        TRAIN | {"mode": "eval"},
        {"n": 9, "batch_size": 1},
        {"n": 35, "batch_size": 4, **ITERABLE},
        {"n": 35, "batch_size": 4, "iterable": True, "workers": 4},
    ],
    "DL102": [TRAIN, {"n": 10, "batch_size": 8, "mode": "eval"}, {"n": 9, "batch_size": 1, "mode": "eval"}],
    "DL103": [{"n": 1, "batch_size": 8}, {"n": 9, "batch_size": 1, "mode": "eval"}, {"n": 9, "batch_size": 2}],
    "DL104": [
        TRAIN,
        {"n": 16, "batch_size": 8, "replicas": 4},
        {"n": 9, "batch_size": 8, "replicas": 1, "world_size": 2},
        {"n": 16, "batch_size": 8, "world_size": 4, "sharding": "accelerate-split"},
    ],
    "DL105": [TRAIN, {"n": 8, "batch_size": 8, "drop_last": True}],
    "DL106": [TRAIN, {"n": 40, "batch_size": 4, **ITERABLE}, {"n": 9, "batch_size": 8, "iterable": True}],
    "DL107": [TRAIN, {"n": 10, "batch_size": 8}, {"n": 34, "batch_size": 32, "mode": "eval"}],
    "DL108": [TRAIN, {"n": 801, "batch_size": 8, "drop_last": True}, {"n": 5, "batch_size": 8, "drop_last": True}],
}


def codes(options: dict[str, object]) -> list[str]:
    return [f.code for f in bnguard.audit_loader(**options).findings]


def cases(table: dict[str, list[dict[str, object]]]) -> list[object]:
    return [pytest.param(code, o, id=f"{code}-{i}") for code, every in table.items() for i, o in enumerate(every)]


@pytest.mark.parametrize(("code", "options"), cases(FIRES))
def test_fires(code: str, options: dict[str, object]):
    assert code in codes(options)


@pytest.mark.parametrize(("code", "options"), cases(SILENT))
def test_stays_silent(code: str, options: dict[str, object]):
    assert code not in codes(options)


def test_each_rule_has_both_kinds_of_fixture():
    assert [r.code for r in RULES] == list(FIRES) == list(SILENT)


def finding(**options):
    return bnguard.audit_loader(**options).findings[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TRAIN, ["train:", "step 2 of 2", "9 samples are 1"]),
        ({"n": 33, "batch_size": 8, "world_size": 4}, ["each of 4 ranks", "of the 33"]),
        ({"n": 9, "batch_size": 16, "replicas": 8}, ["replica 4", "2, 2, 2, 2, 1", "9 samples"]),
        ({"n": 16, "batch_size": 4, "world_size": 4, "sharding": "accelerate-split"}, ["4 ranks", "rank 0 gets 1"]),
        ({"n": 35, "batch_size": 4, **ITERABLE}, ["workers 0 to 2", "step 9 of 11"]),
        ({"n": 9, "batch_size": 1}, ["all 9 batches", "drop_last does not help"]),
        ({"n": 5, "batch_size": 8, "drop_last": True}, ["5 samples", "batch_size=8", "drop_last=True"]),
    ],
)
def test_messages_name_the_place_and_the_cause(options: dict[str, object], words: list[str]):
    message = finding(**options).message
    assert [word for word in words if word not in message] == []


def test_evaluation_is_never_an_error():
    for options in ({"n": 9, "batch_size": 16, "replicas": 8}, {"n": 35, "batch_size": 4, **ITERABLE}, TRAIN):
        assert finding(**options).severity is Severity.ERROR
        assert finding(**options, mode="eval").severity is Severity.WARNING


def test_an_unknown_loader_is_judged_by_what_is_known():
    fact = LoaderFact("train", "train", None, 8, False, streams=(), unknown="no length")
    assert CATALOGUE.judge(loaders=[fact]) == ()


def test_a_batch_sampler_of_single_indices():
    fact = LoaderFact("train", "train", 5, None, False, streams=(Stream((0, 0), ((1, 5),)),), steps=5)
    assert [f.code for f in CATALOGUE.judge(loaders=[fact])] == ["DL103"]


def test_every_rule_explains_itself():
    for rule in RULES:
        assert rule.summary
        assert len(rule.why.split()) > 30
        assert len(rule.fix.split()) > 15


def only(code: str, fact: LoaderFact):
    (finding,) = (f for f in CATALOGUE.judge(loaders=[fact]) if f.code == code)
    return finding


def test_a_sampler_that_gives_none_is_not_told_to_keep_its_tail() -> None:
    (fact,) = bnguard.audit_loader(n=3, batch_size=2, world_size=4, sampler_drop_last=True).loaders
    assert (fact.steps, fact.drop_last) == (0, False)
    finding = only("DL105", fact)
    assert "its sampler gives none on each of 4 ranks" in finding.message
    assert [advice.kind for advice in finding.remedies] == ["more-samples"]


def test_balance_is_offered_where_it_takes_the_loader() -> None:
    """Batches are spread anew over what drop_last leaves out; a sampler's own loss and a worker's batches stay."""
    (dropped,) = bnguard.audit_loader(n=9, batch_size=8, drop_last=True).loaders
    assert [a.kind for a in only("DL108", dropped).remedies] == ["balance"]
    (cut,) = bnguard.audit_loader(n=7, batch_size=2, world_size=4, sampler_drop_last=True).loaders
    assert [a.kind for a in only("DL108", cut).remedies] == ["batch-size"]
    (streamed,) = bnguard.audit_loader(n=68, batch_size=32, iterable=True, workers=2, shard="ceil").loaders
    assert [a.kind for a in only("DL107", streamed).remedies] == ["batch-size"]
