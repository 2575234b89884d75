"""Sharding laws as objects: a law is one file and its name; live loaders say more than options do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._audit_loader import sharding
from bnguard._audit_loader.plan import Setup
from bnguard._audit_loader.sharding.workers import WORKER_SHARDINGS
from bnguard._errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

BLOCKS = '''
"""Each rank gets one contiguous block; the last ones may get less, or nothing."""

from bnguard._audit_loader.sharding import Groups, Recognised, ShardingLaw


class Blocks(ShardingLaw):
    name = "blocks-in-a-row"
    library = "Blocks"
    loader_batches = True

    def plan(self, samples, setup) -> Groups:
        world, each = setup.world_size, -(-samples // setup.world_size)
        full, rest = divmod(samples, each)
        filled = full + bool(rest)
        return (
            (0, full - 1, setup.batches(each)), (full, filled - 1, setup.batches(rest)), (filled, world - 1, ())
        )

    def share(self, samples, setup):
        return setup.batches(samples // setup.world_size), samples // setup.world_size * setup.world_size

    def recognise(self, part, setup):
        if not type(part).__name__.startswith("Block"):
            return None
        if part.secret:
            return Recognised(part.world, part.rank, None, part.inner, "the blocks are a secret")
        return Recognised(part.world, part.rank, setup._replace(sharding=self.name, world_size=part.world), part.inner)

    def exclusions(self, setup):
        yield from super().exclusions(setup)
        if setup.uneven:
            yield "--uneven means nothing to blocks", "leave --uneven out"

    def notes(self, setup):
        yield "blocks are in a row"


LAW = Blocks()
'''


class Block:
    world, rank = 3, 1

    def __init__(self, inner: object, secret: bool = False, rank: int = 1) -> None:
        self.inner, self.secret, self.rank = inner, secret, rank


class BlockSampler(Block, Sampler):
    def __iter__(self):
        each = -(-len(self.inner) // self.world)
        return iter(range(len(self.inner))[self.rank * each : (self.rank + 1) * each])


class BlockBatchSampler(Block):
    def __iter__(self):
        return iter(list(self.inner)[self.rank :: self.world])


class BlockStream(Block, IterableDataset):
    def __iter__(self):
        return iter(range(self.rank, len(self.inner), self.world))


class BlockLoader(DataLoader):
    world, rank, inner, secret = 3, 1, None, False


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One file, and its name in the registry."""
    (tmp_path / "blocks_in_a_row.py").write_text(BLOCKS)
    monkeypatch.setattr(sharding, "LAWS", (*sharding.LAWS, "blocks-in-a-row"))
    monkeypatch.setattr(sharding, "__path__", [*sharding.__path__, str(tmp_path)])
    yield tmp_path
    sys.modules.pop(f"{sharding.__name__}.blocks_in_a_row", None)


def one(*args: object, **options):
    return bnguard.audit_loader(*args, **options).loaders[0]


def streams(fact) -> list[tuple[tuple[int, int], tuple[tuple[int, int], ...]]]:
    return [(s.ranks, s.batches) for s in fact.streams]


NUMBERS = {"n": 22, "batch_size": 3, "world_size": 3, "sharding": "blocks-in-a-row"}
PLANNED = [((0, 1), ((3, 2), (2, 1))), ((2, 2), ((3, 2),))]


@pytest.mark.usefixtures("blocks")
def test_a_new_law_by_numbers():
    report = bnguard.audit_loader(**NUMBERS)
    assert streams(report.loaders[0]) == PLANNED
    assert report.loaders[0].unused == 0
    assert "blocks are in a row" in report.loaders[0].notes
    broken = bnguard.audit_loader(**NUMBERS | {"n": 21})
    assert broken.loaders[0].first_single.rank == 0
    assert {"merge-tail", "world-size"} <= {way.kind for way in broken.suggestions}
    assert streams(one(**NUMBERS | {"iterable": True})) == [((0, 2), ((3, 2), (1, 1)))]
    for option, words in (("uneven", "to blocks"), ("sampler_drop_last", "not to Blocks")):
        with pytest.raises(UsageError, match=words):
            bnguard.audit_loader(**NUMBERS, **{option: True})


@pytest.mark.usefixtures("blocks")
def test_a_new_law_in_a_live_sampler():
    for rank in range(3):
        sampler = BlockSampler(range(22), rank=rank)
        fact = one(DataLoader(range(22), 3, sampler=sampler))
        assert streams(fact) == PLANNED
        real = [len(batch) for batch in BatchSampler(sampler, 3, drop_last=False)]
        assert next(s.total for s in fact.streams if s.ranks[0] <= rank <= s.ranks[1]) == sum(real)
    with pytest.raises(UsageError, match=r"--world-size 2 contradicts the BlockSampler of loader \(3 ranks\)"):
        one(DataLoader(range(22), 3, sampler=BlockSampler(range(22))), world_size=2)


class Sized(IterableDataset):
    def __iter__(self):
        return iter(range(22))

    def __len__(self) -> int:
        return 22


PARTS = {
    "loader": lambda secret: BlockLoader(range(22), 3),
    "stream": lambda secret: DataLoader(BlockStream(Sized(), secret), 3),
    "batches": lambda secret: DataLoader(
        range(22), batch_sampler=BlockBatchSampler(BatchSampler(range(22), 3, False), secret)
    ),
    "sampler": lambda secret: DataLoader(range(22), 3, sampler=BlockSampler(range(22), secret)),
}


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("part", PARTS)
def test_a_new_law_in_each_part_of_a_live_loader(part: str, monkeypatch: pytest.MonkeyPatch):
    expected = [((0, 2), ((3, 2), (1, 1)))] if part == "stream" else PLANNED
    fact = one(PARTS[part](False))
    assert (streams(fact), fact.world_size, fact.unknown) == (expected, 3, None)
    monkeypatch.setattr(BlockLoader, "secret", True)
    fact = one(PARTS[part](True))
    assert fact.unknown == "the blocks are a secret"
    looked_at = {"batches": [((1, 1), ((3, 2), (1, 1)))], "sampler": [((1, 1), ((3, 2), (2, 1)))]}
    assert streams(fact) == looked_at.get(part, [])


SHELL = """
import sys
from bnguard._audit_loader import sharding
sharding.LAWS += ("blocks-in-a-row",)
sharding.__path__.append(sys.argv[1])
from bnguard._cli.app import run
sys.exit(run(sys.argv[2:]))
"""


def test_a_new_law_on_the_command_line_and_in_a_configuration(blocks: Path):
    def shell(*argv: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "300", "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-c", SHELL, str(blocks), *argv]
        return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False)

    assert "accelerate-dispatch or blocks-in-a-row" in " ".join(shell("audit-loader", "--help").stdout.split())
    numbers = ["--n", "22", "--bs", "3", "--world-size", "3", "--format", "json"]
    found = json.loads(shell("audit-loader", *numbers, "--sharding", "blocks-in-a-row").stdout)
    assert [stream["ranks"] for stream in found["loaders"][0]["streams"]] == [[0, 1], [2, 2]]
    assert "accelerate-dispatch, blocks-in-a-row" in shell("audit-loader", *numbers, "--sharding", "magic").stderr
    config = blocks / "bnguard.toml"
    config.write_text("[loaders.train]\nn = 22\nbatch-size = 3\nworld-size = 3\nsharding = 'blocks-in-a-row'\n")
    found = json.loads(shell("check", "--config", str(config), "--format", "json").stdout)
    assert [stream["ranks"] for stream in found["loaders"][0]["streams"]] == [[0, 1], [2, 2]]


@pytest.mark.parametrize("name", sharding.LAWS)
def test_every_law_has_its_name_and_a_place_in_the_guide(name: str):
    assert sharding.law_named(name).name == name
    guide = (ROOT / "docs" / "how-to" / "audit-a-loader.md").read_text(encoding="utf-8")
    assert sharding.law_named(name) is sharding.law_named("distributed-sampler") or f"--sharding {name}`" in guide


def test_planning_never_imports_torch():
    code = (
        "import sys, bnguard; from bnguard._audit_loader.sharding import LAWS\n"
        "for law in LAWS:\n"
        "    for iterable in (False, True):\n"
        "        bnguard.audit_loader(n=9, batch_size=8, world_size=2, sharding=law, iterable=iterable)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


RANKS = {"n": 17, "batch_size": 8, "world_size": 4}


@pytest.mark.parametrize(
    ("name", "divided", "kinds"),
    [
        ("distributed-sampler", False, {"merge-tail", "balance"}),
        ("accelerate", False, set()),
        ("accelerate-split", True, set()),
        ("accelerate-dispatch", True, set()),
    ],
)
def test_who_makes_the_batches(name: str, divided: bool, kinds: set[str]):
    """Where a library deals out batches, their borders are not the loader's to move."""
    uneven = name in ("accelerate", "accelerate-split")  # without it they repeat samples and nothing breaks
    report = bnguard.audit_loader(**RANKS | {"n": 33, "uneven": uneven}, sharding=name)
    assert report.loaders[0].first_single is not None
    assert report.loaders[0].divided is divided
    assert {way.kind for way in report.suggestions} & {"merge-tail", "balance"} == kinds


def test_a_dispatcher_divides_a_stream_as_any_dataset():
    dispatched = {"sharding": "accelerate-dispatch", **RANKS}
    assert streams(one(**dispatched, iterable=True, workers=1)) == streams(one(**dispatched)) == [((0, 3), ((5, 1),))]
    assert streams(one(**dispatched | {"sharding": "accelerate"}, iterable=True)) == [((0, 3), ((8, 1),))]
    undivided = one(**RANKS, iterable=True)
    assert streams(undivided) == [((0, 3), ((8, 2), (1, 1)))]
    assert any("every rank yields all samples" in note for note in undivided.notes)
    assert not one(**RANKS).notes


@pytest.mark.parametrize("name", sharding.LAWS)
def test_no_samples_make_no_batches(name: str):
    """A part of a split may be empty."""
    for uneven in (False, True):
        plan = sharding.make_plan(0, Setup(8, world_size=4, sharding=name, uneven=uneven))
        assert ([(s.ranks, s.batches) for s in plan.streams], plan.unused) == ([((0, 3), ())], 0)


def test_what_nobody_shows_is_never_less_than_nothing():
    """Samples are repeated: four ranks show 32 batches of one."""
    assert one(n=29, batch_size=1, world_size=4).unused == 0
    assert one(n=10, batch_size=4, iterable=True, workers=2, shard="none").unused == 0
    assert one(n=10, batch_size=4, iterable=True, workers=2, shard="none", drop_last=True).unused == 2
    assert one(n=10, batch_size=4, iterable=True, workers=2, shard="stride", drop_last=True).unused == 2


# --------------------------------------------------------------------------------- what live loaders say


def distributed(n: int = 9, world: int = 2) -> DataLoader:
    return DataLoader(range(n), 4, sampler=DistributedSampler(range(n), world, 0))


@pytest.mark.parametrize("options", [{"uneven": True}, {"sharding": "accelerate"}, {"sampler_drop_last": True}])
def test_a_live_sampler_decides_how_it_divides(options: dict[str, object]):
    """Nine samples on two ranks are five each, one of them repeated, whatever else is said of the ranks."""
    assert streams(one(distributed(), world_size=2, **options)) == [((0, 1), ((4, 1), (1, 1)))]


def test_shards_of_accelerate_have_a_number_of_ranks():
    from accelerate.data_loader import BatchSamplerShard

    shard = BatchSamplerShard(BatchSampler(SequentialSampler(range(17)), 4, False), 2, 1)
    loader = DataLoader(range(17), batch_sampler=shard)
    assert streams(one(loader, world_size=2)) == [((0, 1), ((4, 3),))]
    with pytest.raises(UsageError, match=r"--world-size 4 contradicts the BatchSamplerShard of loader \(2 ranks\)"):
        one(loader, world_size=4)


def test_split_streams_of_accelerate_count_all_ranks():
    from accelerate.data_loader import IterableDatasetShard

    for rank in range(2):
        loader = DataLoader(IterableDatasetShard(Sized(), 8, False, 2, rank, split_batches=True), 4)
        fact = one(loader)
        assert (fact.batch_size, streams(fact)) == (8, [((0, 1), ((4, 3),))])
        assert [len(batch) for batch in loader] == [4, 4, 4]


class Uncopyable(DistributedSampler):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.indices = (i for i in range(5))

    def __iter__(self):
        return self.indices


def test_ranks_that_cannot_be_looked_at_are_unknown():
    from accelerate.data_loader import BatchSamplerShard

    sampler = Uncopyable(range(9), 2, 1)
    assert "Uncopyable cannot be copied" in one(DataLoader(range(9), 4, sampler=sampler)).unknown
    assert len(list(sampler)) == 5
    one_shot = BatchSampler((i for i in range(9)), 4, False)
    shard = BatchSamplerShard(one_shot, 2, 1)
    assert "generator cannot be copied" in one(DataLoader(range(9), batch_sampler=shard)).unknown
    assert len(list(one_shot)) == 3


def test_samplers_of_lightning():
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
    from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler

    wrapped = [DistributedSamplerWrapper(SequentialSampler(range(9)), num_replicas=2, rank=r) for r in range(2)]
    for sampler in wrapped:
        fact = one(DataLoader(range(9), 4, sampler=sampler))
        assert (streams(fact), fact.unknown) == ([((0, 1), ((4, 1), (1, 1)))], None)
        assert [len(b) for b in BatchSampler(sampler, 4, False)] == [4, 1]
    unrepeated = [UnrepeatedDistributedSampler(range(9), num_replicas=2, rank=r) for r in range(2)]
    for sampler, real in zip(unrepeated, ([4, 1], [4]), strict=True):
        fact = one(DataLoader(range(9), 4, sampler=sampler))
        assert (streams(fact), fact.unknown) == ([((0, 0), ((4, 1), (1, 1))), ((1, 1), ((4, 1),))], None)
        assert [len(b) for b in BatchSampler(sampler, 4, False)] == real


def test_a_dispatcher_of_several_ranks_is_unknown():
    from accelerate.data_loader import DataLoaderDispatcher

    loader = DataLoaderDispatcher(Sized(), batch_size=4)
    assert one(loader).streams[0].batches == ((4, 5), (2, 1))  # a single process has the loader as it is

    class State:
        num_processes, process_index = 2, 0

    loader.state = State()
    fact = one(loader)
    assert not fact.streams
    assert fact.unknown.endswith("audit it with --sharding accelerate-dispatch")


# ------------------------------------------------------------------------------- workers, and in words


def test_what_each_sharding_between_workers_would_mean():
    fact = one(n=13, batch_size=4, iterable=True, workers=4)
    assert fact.notes == (
        "if the dataset shards by 'ceil': a batch of one (worker 3)",
        "if the dataset shards by 'stride': no batch of one",
        "if it does not shard: a batch of one (worker 0)",
    )
    assert len(WORKER_SHARDINGS) == 3


def test_one_worker_is_one():
    ways = bnguard.audit_loader(n=6, batch_size=4, iterable=True, workers=3, shard="none").suggestions
    assert not [way for way in ways if way.kind == "workers"]
    ways = bnguard.audit_loader(n=10, batch_size=4, iterable=True, workers=2, shard="ceil").suggestions
    assert [way.detail for way in ways if way.kind == "workers"] == ["use 1 worker instead of 2, nothing is lost"]


def test_a_stream_cannot_be_balanced_in_a_range_of_sizes_either():
    ways = bnguard.audit_loader(n="9..40", batch_size=8, iterable=True).suggestions
    assert [way.kind for way in ways] == ["merge-tail"]


# ----------------------------------------------------------------------------- where a law does not hold


def test_a_dataset_that_has_grown_since_its_sampler_was_made():
    data = list(range(9))
    sampler = DistributedSampler(data, 2, 1, drop_last=True)
    data += [9, 10, 11]
    fact = one(DataLoader(data, 3, sampler=sampler))
    assert (streams(fact), fact.world_size) == ([((1, 1), ((3, 1), (1, 1)))], 2)
    assert "only rank 1 of 2 was looked at" in fact.unknown
    assert [len(batch) for batch in BatchSampler(sampler, 3, False)] == [3, 1]


def test_batches_of_another_law_in_a_shard_of_accelerate_are_looked_at():
    """Accelerate's plan holds for plain batches of samples that nothing has divided before."""
    from accelerate.data_loader import BatchSamplerShard

    divided = BatchSampler(DistributedSampler(range(18), 2, 1), 4, False)
    merged = bnguard.repair.merge_tail(DataLoader(range(9), 4)).batch_sampler
    for inner in (divided, merged):
        shard = BatchSamplerShard(inner, 2, 1)
        real = [len(batch) for batch in shard]
        fact = one(DataLoader(range(18), batch_sampler=shard))
        assert [size for _, batches in streams(fact) for size, count in batches for _ in range(count)] == real
        assert [ranks for ranks, _ in streams(fact)] == [(1, 1)]
        assert fact.unknown == "only rank 1 of 2 was looked at"


def test_samplers_that_are_not_enumerated():
    from accelerate.data_loader import SeedableRandomSampler

    many = range(10**15 + 1)
    fact = one(DataLoader(many, 8, sampler=SeedableRandomSampler(many)))
    assert fact.streams[0].batches == ((8, 125 * 10**12), (1, 1))


def test_a_safe_loader_of_lightning_is_its_own_repair():
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

    for samples, safe in ((16, True), (18, False)):
        sampler = DistributedSamplerWrapper(SequentialSampler(range(samples)), num_replicas=2, rank=0)
        loader = DataLoader(range(samples), 4, sampler=sampler)
        assert (bnguard.repair.merge_tail(loader) is loader) is safe
