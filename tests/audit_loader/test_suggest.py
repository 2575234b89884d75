"""Ways out, tried on real loaders: after each of them no rank, replica or worker gets a lone sample."""

from __future__ import annotations

import random
import re

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._audit_loader.plan import Setup, batches
from bnguard._audit_loader.suggest import suggest
from bnguard._audit_loader.summary import describe
from bnguard._facts.loaders import Suggestion, runs_text


def real_sizes(n: int, setup: Setup) -> list[list[int]]:
    """Return the batch sizes of every rank, from torch's own objects."""
    if setup.world_size == 1:
        return [[len(b) for b in DataLoader(range(n), setup.batch_size, drop_last=setup.drop_last).batch_sampler]]
    ranks = []
    for rank in range(setup.world_size):
        sampler = DistributedSampler(range(n), setup.world_size, rank, drop_last=setup.sampler_drop_last)
        ranks.append([len(b) for b in BatchSampler(sampler, setup.batch_size, setup.drop_last)])
    return ranks


def applied(setup: Setup, way: Suggestion) -> Setup | None:
    if way.kind == "batch-size":
        return setup._replace(batch_size=way.batch_size)
    if way.kind == "drop-last":
        return setup._replace(drop_last=True)
    if way.kind == "world-size":
        return setup._replace(world_size=way.world_size)
    return None


def test_every_way_out_works_on_real_loaders():
    draw = random.Random(11)
    tried = 0
    while tried < 1000:
        n, world, size, replicas = (draw.randrange(1, top) for top in (150, 6, 20, 5))
        setup = Setup(size, world_size=world, replicas=replicas)
        fact = describe("train", "train", n, setup)
        for way in suggest(fact, setup):
            changed = applied(setup, way)
            if changed is None:
                continue
            tried += 1
            ranks = real_sizes(n, changed)
            assert all(ranks), (n, setup, way)  # every rank has a batch
            pieces = [p for sizes in ranks for s in sizes for p in torch.empty(s).chunk(replicas)]
            assert min(len(p) for p in pieces) > 1, (n, setup, way)
            if way.kind == "drop-last" and world == 1:
                assert way.samples_lost == n - sum(ranks[0])


def test_merging_and_balancing_lose_nothing():
    for n in range(2, 200):
        for size in range(2, 33):
            merged, balanced = (
                [s for s, count in batches(n, size, False, tail) for _ in range(count)] for tail in ("merge", "balance")
            )
            assert sum(merged) == sum(balanced) == n
            assert min(merged) > 1
            assert min(balanced) > 1
            assert max(merged) <= size + 1
            assert max(balanced) <= size + (size == 2 and n % 2)  # 5 is 3 + 2: three batches of two it is not
            assert max(balanced) - min(balanced) <= 1


def kinds(**options) -> list[str]:
    return [way.kind for way in bnguard.audit_loader(**options).suggestions]


def test_cheapest_first():
    assert kinds(n=33, batch_size=8, world_size=4) == [
        "merge-tail", "balance", "batch-size", "batch-size", "drop-last", "world-size", "sync-batchnorm",
    ]  # fmt: skip


def test_nearest_batch_sizes():
    ways = bnguard.audit_loader(n=9, batch_size=8).suggestions
    assert [way.batch_size for way in ways if way.batch_size] == [7, 9]
    assert next(way for way in ways if way.kind == "drop-last").samples_lost == 1


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"n": 1, "batch_size": 8}, "drop-last"),  # no batch would be left
        ({"n": 9, "batch_size": 1}, "drop-last"),  # it does not help
        ({"n": 9, "batch_size": 1}, "merge-tail"),
        ({"n": 9, "batch_size": 8}, "sync-batchnorm"),  # there are no ranks
        ({"n": 9, "batch_size": 8, "iterable": True}, "balance"),  # nobody knows how many samples are to come
        ({"n": 2, "batch_size": 8, "iterable": True, "workers": 2, "shard": "stride"}, "merge-tail"),  # one each
        ({"n": 9, "batch_size": 8, "world_size": 2, "replicas": 2}, "sync-batchnorm"),
        ({"n": 17, "batch_size": 4, "world_size": 4, "sharding": "accelerate", "uneven": True}, "sync-batchnorm"),
    ],
)
def test_what_does_not_help_is_not_offered(options: dict[str, object], absent: str):
    assert absent not in kinds(**options)


def test_nothing_is_offered_where_nothing_breaks():
    assert kinds(n=10, batch_size=8) == []
    assert kinds(n=9, batch_size=8, mode="eval") == []
    assert kinds(n=1, batch_size=8) == []


def test_fewer_workers_or_replicas():
    assert "workers" in kinds(n=35, batch_size=4, iterable=True, workers=4, shard="ceil")
    ways = bnguard.audit_loader(n=9, batch_size=16, replicas=8).suggestions
    assert [way.kind for way in ways][-1] == "replicas"


def test_too_few_samples_for_drop_last():
    ways = bnguard.audit_loader(n=5, batch_size=8, drop_last=True).suggestions
    assert [(way.kind, way.batch_size, way.samples_lost) for way in ways] == [("batch-size", 5, 0)]


def test_fewer_replicas_with_another_batch_size_where_neither_helps_alone() -> None:
    report = bnguard.audit_loader(n=9, batch_size=8, replicas=8)
    way = next(s for s in report.suggestions if s.kind == "replicas")
    found = re.search(r"use (\d+) replicas .* batch size (\d+)", way.detail)
    assert found is not None
    replicas, size = int(found[1]), int(found[2])
    assert way.batch_size == size
    sizes = [len(piece) for batch in torch.arange(9).split(size) for piece in batch.chunk(replicas)]
    assert min(sizes) >= 2


@pytest.mark.parametrize("n", [9, 17, 65])
def test_the_line_to_paste_does_what_it_says(n: int):
    mine = DataLoader(range(n), batch_size=8)
    for name, variable in (("train_loader", "train_loader"), ("train", "loader"), ("fold 1", "loader")):
        for way in bnguard.audit_loader(mine, name=name).suggestions:
            if way.call is not None:
                names = {"bnguard": bnguard, variable: mine}
                exec(way.call, names)
                sizes = [len(batch) for batch in names[variable]]
                assert min(sizes) > 1
                assert sum(sizes) == n
                (stream,) = bnguard.audit_loader(names[variable]).loaders[0].streams
                assert runs_text(stream.batches) in way.detail
    assert {way.kind for way in bnguard.audit_loader(mine).suggestions if way.call} <= {"merge-tail", "balance"}
