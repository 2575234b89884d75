"""Loaders given by numbers: the stories people tell, ranges, refusals, notes, speed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bnguard
from bnguard._audit_loader.names import mode_of
from bnguard._audit_loader.plan import Setup
from bnguard._audit_loader.summary import describe
from bnguard._errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def audit(**options):
    return bnguard.audit_loader(**options)


def codes(report) -> list[str]:
    return [f.code for f in report.findings]


def test_nine_breaks_and_ten_does_not():
    assert codes(audit(n=9, batch_size=8)) == ["DL101"]
    assert "step 2 of 2" in audit(n=9, batch_size=8).findings[0].message
    assert audit(n=10, batch_size=8).findings == ()


def test_a_split_that_was_fine_gets_a_test_part():
    before = audit(n=6, batch_size=8, split="8:2")
    assert [f.samples for f in before.loaders] == [5, 1]
    assert audit(n=12, batch_size=8, split="8:2").findings == ()
    after = audit(n=6, batch_size=8, split="5:3:2")
    assert [(f.name, f.samples) for f in after.loaders] == [("train", 4), ("val", 1), ("test", 1)]
    assert codes(after) == ["DL102", "DL102"]


def test_drop_last_names_what_is_lost():
    report = audit(n=9, batch_size=8, drop_last=True)
    assert report.ok
    assert report.loaders[0].unused == 1
    assert "1 of 9 samples" in report.findings[0].message


def test_another_rounding_that_would_break_is_noted():
    report = audit(n=12, batch_size=8, split="8:2")
    assert report.loaders[0].samples == 10
    assert any("9 samples, and a batch of one" in note for note in report.loaders[0].notes)
    assert not audit(n=20, batch_size=8, split="8:2").loaders[0].notes


def test_older_pythons_refuse_some_fractions():
    def naive(fractions):
        total = 0.0
        for f in fractions:
            total += f
        return total

    fractions = next(
        f
        for k in range(2, 40)
        for f in [tuple([1 / k] * k), (0.7, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4), (0.15, 0.35, 0.5)]
        if naive(f) > 1
    )
    notes = audit(n=1000, batch_size=8, split=fractions).loaders[0].notes
    assert any("Python 3.11" in note for note in notes)


def test_lengths_and_unshown_samples():
    assert [f.samples for f in audit(n=10, batch_size=8, split=(7, 3)).loaders] == [7, 3]
    report = audit(n=100, batch_size=8, split="0.5,0.3", rounding="floor")
    assert "20 of 100 samples are in no part" in report.loaders[-1].notes


def test_folds_share_a_plan():
    report = audit(n=10, batch_size=4, kfold=4)
    told = [(f.name, f.samples) for f in report.loaders]
    assert told == [("train (folds 1-2)", 7), ("val (folds 1-2)", 3), ("train (folds 3-4)", 8), ("val (folds 3-4)", 2)]


def test_a_range_of_sizes():
    report = audit(n="9..40", batch_size=8)
    assert [f.loader for f in report.findings] == ["n=9", "n=17", "n=25", "n=33"]
    assert report.extra == {"range": {"from": 9, "to": 40}}
    assert len(audit(n=range(9, 41), batch_size=8).loaders) == 32
    assert {way.kind for way in report.suggestions} == {"merge-tail", "balance"}


def test_a_range_may_start_below_what_folds_need():
    report = audit(n="1..6", batch_size=4, kfold=3)
    assert {f.samples for f in report.loaders if "n=3" in f.name} == {2, 1}
    assert not [f for f in report.loaders if "n=2" in f.name]


def test_unknown_sharding_is_never_green():
    fact = audit(n=35, batch_size=4, iterable=True, workers=4).loaders[0]
    assert fact.unknown
    assert (fact.streams, fact.smallest, fact.steps, fact.first_single) == ((), None, None, None)
    assert len(fact.notes) == 3
    assert audit(n=9, batch_size=8, iterable=True, workers=1).loaders[0].unknown is None


def test_ranks_that_nothing_divides():
    fact = audit(n=9, batch_size=8, iterable=True, world_size=2).loaders[0]
    assert fact.streams[0].ranks == (0, 1)
    assert any("every rank yields all" in note for note in fact.notes)


def test_json_has_the_keys_of_the_contract():
    document = audit(n=9, batch_size=8, replicas=8).to_dict()
    assert document["command"] == "audit-loader"
    loader = document["loaders"][0]
    keys = "name mode samples batch_size drop_last streams smallest steps unused first_single unknown notes"
    assert set(loader) >= set(keys.split())
    assert loader["streams"] == [
        {"ranks": [0, 0], "workers": None, "batches": [[8, 1], [1, 1]], "micro_batches": None,
         "replica_batches": [[[1] * 8, 1], [[1], 1]]}
    ]  # fmt: skip
    ways = audit(n=9, batch_size=8).to_dict()["suggestions"]
    assert set(ways[0]) >= {"kind", "batch_size", "samples_lost", "detail"}


def test_no_number_is_too_large():
    fact = describe("train", "train", 10**15, Setup(1000, world_size=4096, replicas=8))
    assert fact.streams[0].ranks == (0, 4095)
    assert fact.steps == 244_140_625


@given(
    n=st.integers(1, 2**63 - 1),
    size=st.integers(1, 2**63 - 1),
    world=st.integers(1, 2**20),
    replicas=st.integers(1, 64),
    drop=st.booleans(),
    sharding=st.sampled_from(["distributed-sampler", "accelerate", "accelerate-split", "accelerate-dispatch"]),
    iterable=st.booleans(),
    workers=st.integers(0, 10**6),
    shard=st.sampled_from(["ceil", "stride", "none"]),
)
@settings(max_examples=200, deadline=None)
def test_any_numbers_give_a_plan_or_one_clear_refusal(
    n, size, world, replicas, drop, sharding, iterable, workers, shard
):
    options = {"world_size": world, "replicas": replicas, "drop_last": drop, "sharding": sharding}
    if iterable:
        options |= {"iterable": True, "workers": workers, "shard": shard}
    try:
        report = audit(n=n, batch_size=size, **options)
    except UsageError:
        return
    fact = report.loaders[0]
    assert fact.unused is not None
    assert 0 <= fact.unused <= n
    assert all(count > 0 for s in fact.streams for _, count in s.batches)
    for low, high in zip(fact.streams, fact.streams[1:], strict=False):
        assert high.ranks[0] == low.ranks[1] + 1 or high.workers[0] == low.workers[1] + 1
    for way in report.suggestions:
        assert "\n" not in way.detail


DISPATCHED = {"n": 9, "batch_size": 8, "world_size": 2, "sharding": "accelerate-dispatch"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0, "batch_size": 8}, "at least 1"),
        ({"n": -3, "batch_size": 8}, "at least 1"),
        ({"n": 2**63, "batch_size": 8}, "2\\*\\*63"),
        ({"n": 9, "batch_size": 0}, "batch_size"),
        ({"n": 9, "batch_size": 2**63}, "2\\*\\*63"),
        ({"n": 9}, "both needed"),
        ({"batch_size": 9}, "both needed"),
        ({"n": 9.5, "batch_size": 8}, "no whole number"),
        ({"n": True, "batch_size": 8}, "no whole number"),
        ({"n": "nine", "batch_size": 8}, "no whole number"),
        ({"n": "40..9", "batch_size": 8}, "holds no size"),
        ({"n": "1..5000", "batch_size": 8}, "more than 1,000"),
        ({"n": f"1..{2**63}", "batch_size": 8}, "2\\*\\*63"),
        ({"n": 9, "batch_size": 8, "split": "0.8,0.8"}, "more than 1"),
        ({"n": 9, "batch_size": 8, "split": "0.8,nan"}, "nan"),
        ({"n": 9, "batch_size": 8, "split": "inf:1"}, "split"),
        ({"n": 9, "batch_size": 8, "split": "0.8,-0.2"}, "-0.2"),
        ({"n": 9, "batch_size": 8, "split": "0:0"}, "split"),
        ({"n": 9, "batch_size": 8, "split": "a:b"}, "no number"),
        ({"n": 9, "batch_size": 8, "split": ""}, "no number"),
        ({"n": 9, "batch_size": 8, "split": "0.8,0.1"}, "add up to 0.9"),
        ({"n": 9, "batch_size": 8, "split": "8,2"}, "add up to 10"),
        ({"n": 9, "batch_size": 8, "split": "8:2", "names": ["a"]}, "1 names"),
        ({"n": 9, "batch_size": 8, "split": "8:2", "names": ["a", "a"]}, "twice"),
        ({"n": 9, "batch_size": 8, "split": "8:2", "eval_names": ["c"]}, "names no part"),
        ({"n": 9, "batch_size": 8, "split": "8:2", "rounding": "up"}, "not known"),
        ({"n": 1, "batch_size": 8, "split": "8:2", "rounding": "sklearn"}, "refuses"),
        ({"n": 9, "batch_size": 8, "kfold": 10}, "more than the 9"),
        ({"n": 9, "batch_size": 8, "kfold": 1}, "no split"),
        ({"n": 9, "batch_size": 8, "kfold": 3, "split": "8:2"}, "exclude"),
        ({"n": 9, "batch_size": 8, "world_size": 0}, "world_size"),
        ({"n": 9, "batch_size": 8, "world_size": 2, "uneven": True, "sampler_drop_last": True}, "exclude"),
        ({"n": 9, "batch_size": 8, "uneven": True}, "several ranks"),
        ({"n": 9, "batch_size": 8, "world_size": 2, "sharding": "accelerate", "sampler_drop_last": True}, "Acc"),
        ({**DISPATCHED, "sampler_drop_last": True}, "belongs to DistributedSampler"),
        ({**DISPATCHED, "uneven": True}, "nothing to Accelerate's dispatcher"),
        ({**DISPATCHED, "iterable": True, "workers": 2, "shard": "ceil"}, "tails it may refuse"),
        ({**DISPATCHED, "iterable": True, "sharding": "accelerate", "uneven": True}, "has no sampler"),
        ({"n": 9, "batch_size": 9, "world_size": 2, "sharding": "accelerate-split"}, "refuses to split"),
        ({"n": 9, "batch_size": 8, "sharding": "magic"}, "not known"),
        ({"n": 9, "batch_size": 8, "shard": "ceil"}, "--iterable"),
        ({"n": 9, "batch_size": 8, "iterable": True, "shard": "half"}, "not known"),
        ({"n": 9, "batch_size": 8, "iterable": True, "workers": -1}, "workers"),
        ({"n": 9, "batch_size": 8, "iterable": True, "split": "8:2"}, "no length to split"),
        ({"n": 9, "batch_size": 8, "replicas": 0}, "replicas"),
        ({"n": 9, "batch_size": 8, "replicas": 10**6}, "4,096"),
        ({"n": 9, "batch_size": 8, "micro_batches": 0}, "micro_batches"),
        ({"n": 9, "batch_size": 8, "mode": "test"}, "mode"),
        ({"n": 9, "batch_size": 8, "count": True}, "count"),
        ({"n": 9, "batch_size": 8, "name": "a", "names": ["a"]}, "exclude"),
    ],
)
def test_bad_input_is_one_clear_line(options: dict[str, object], words: str):
    with pytest.raises(UsageError, match=words) as caught:
        audit(**options)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "mode"),
    [("train", "train"), ("val", "eval"), ("valid_loader", "eval"), ("testloader", "eval"), ("testSet", "eval"),
     ("make_val_loader()", "eval"), ("dev", "eval"), ("eval dataloader", "eval"), ("test (folds 1-3)", "eval"),
     ("train_val", "train"), ("devices", "train"), ("value_loader", "train"), ("loader", "train"),
     ("contest", "train")],
)  # fmt: skip
def test_names_that_mean_evaluation(name: str, mode: str):
    assert mode_of(name) == mode


def test_the_arithmetic_never_imports_torch():
    audited = "bnguard.audit_loader(n=9, batch_size=8, split='5:3:2')"
    code = f"import sys, bnguard; {audited}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
