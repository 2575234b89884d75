"""The fixes where other libraries read, wrap, rebuild or share the loader; the real ones where they are installed."""

from __future__ import annotations

import pytest
import torch
from repair.loaders import Buckets, Stream, samples, sizes
from torch.utils.data import BatchSampler, DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import bnguard
from bnguard._errors import RepairError, TargetError
from bnguard.repair import balance, merge_tail

BOTH = pytest.mark.parametrize("fix", [merge_tail, balance])


# ------------------------------------------------------------------------------- what others read of a loader


@BOTH
def test_what_others_read_is_there(fix):
    loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8, shuffle=True)
    fixed = fix(loader)
    read = fixed.batch_sampler
    assert (read.batch_size, read.drop_last, read.sampler) == (8, False, loader.sampler)
    assert (fixed.batch_size, fixed.drop_last, fixed.sampler) == (8, False, loader.sampler)
    assert len(fixed.sampler) % fixed.batch_size == 1  # as ultralytics asks before it trains


class Mine(BatchSampler):
    def __iter__(self):
        return iter([[0, 1, 2, 3], [4, 5, 6, 7], [8]])


def test_what_others_read_of_a_batch_sampler_of_your_own():
    fixed = merge_tail(DataLoader(range(9), batch_sampler=Mine(range(9), 4, False)))
    assert (fixed.batch_sampler.batch_size, fixed.batch_sampler.sampler) == (4, range(9))
    without = merge_tail(DataLoader(range(9), batch_sampler=Buckets([list(range(9))], 4)))
    assert not hasattr(without.batch_sampler, "batch_size")
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = fixed.batch_sampler.nothing_of_the_kind


# ------------------------------------------------------------------- loaders whose workers go on from epoch to epoch


class _RepeatSampler:
    """As in YOLO, ultralytics and timm."""

    def __init__(self, sampler) -> None:
        self.sampler = sampler

    def __iter__(self):
        while True:
            yield from iter(self.sampler)


class Infinite(DataLoader):
    """One epoch is ``batch_sampler.sampler``; the iterator is asked for when the loader is made, or later."""

    eager = True

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        object.__setattr__(self, "batch_sampler", _RepeatSampler(self.batch_sampler))
        self.iterator = super().__iter__() if self.eager else None

    def __len__(self) -> int:
        return len(self.batch_sampler.sampler)

    def __iter__(self):
        if self.iterator is None:
            self.iterator = super().__iter__()
        for _ in range(len(self)):
            yield next(self.iterator)


class LaterInfinite(Infinite):
    eager = False


@BOTH
@pytest.mark.parametrize("kind", [Infinite, LaterInfinite])
def test_a_loader_that_never_ends_is_one_epoch(fix, kind):
    loader = kind(range(9), batch_size=4, shuffle=True)
    (fact,) = bnguard.audit_loader(loader).loaders
    assert (fact.samples, fact.streams[0].batches, fact.steps) == (9, ((4, 2), (1, 1)), 3)
    fixed = fix(loader)
    assert type(fixed) is kind
    for _ in range(3):
        assert sorted(samples(fixed)) == list(range(9))
        assert min(sizes(fixed)) >= 2
    assert sizes(loader) == [4, 4, 1]
    assert not bnguard.audit_loader(fixed).findings
    assert fix(fixed) is fixed


def test_a_loader_that_never_ends_keeps_its_workers():
    fixed = merge_tail(Infinite(range(9), batch_size=4, num_workers=1))
    assert [sizes(fixed) for _ in range(2)] == [[4, 5]] * 2
    fixed.iterator._shutdown_workers()


# ------------------------------------------------------------------------------------------------- wrappers


class PrefetchLoader:
    """As timm's: it iterates the loader in its attribute."""

    def __init__(self, loader) -> None:
        self.loader, self.mean = loader, 0.5

    def __iter__(self):
        return (batch + self.mean for batch in self.loader)

    def __len__(self) -> int:
        return len(self.loader)


@BOTH
def test_timms_prefetcher_is_repaired_inside(fix, monkeypatch):
    monkeypatch.setattr(PrefetchLoader, "__module__", "timm.data.loader")
    wrapped = PrefetchLoader(DataLoader(torch.arange(9.0), batch_size=8))
    fixed = fix(wrapped)
    assert type(fixed) is PrefetchLoader
    assert min(sizes(fixed)) >= 2
    assert sorted(x for b in fixed for x in b.tolist()) == [i + 0.5 for i in range(9)]
    assert sizes(wrapped) == [8, 1]
    assert bnguard.audit_loader(wrapped).loaders[0].steps == 2
    safe = PrefetchLoader(DataLoader(range(16), batch_size=4))
    assert fix(safe) is safe


def test_other_wrappers_say_the_line_to_write():
    with pytest.raises(TargetError) as caught:
        merge_tail(PrefetchLoader(DataLoader(range(9), batch_size=4)))
    assert caught.value.hint == "repair the DataLoader inside: loader.loader = bnguard.repair.merge_tail(loader.loader)"


# ----------------------------------------------------------------------------------------------- Accelerate


def test_accelerate_deals_out_repaired_batches_whole():
    data_loader = pytest.importorskip("accelerate.data_loader")
    for make in (merge_tail, balance):
        seen: list[int] = []
        for rank in range(2):
            fixed = make(DataLoader(range(33), batch_size=8))
            shard = data_loader.BatchSamplerShard(fixed.batch_sampler, num_processes=2, process_index=rank)
            got = list(shard)
            assert min(map(len, got)) >= 2
            seen += [i for b in got for i in b]
        assert set(seen) == set(range(33))


def test_accelerate_deals_out_merged_batches_of_your_own_whole():
    data_loader = pytest.importorskip("accelerate.data_loader")
    fixed = merge_tail(DataLoader(range(9), batch_sampler=Mine(range(9), 4, False)))
    shards = [data_loader.BatchSamplerShard(fixed.batch_sampler, 2, rank) for rank in range(2)]
    assert [list(shard) for shard in shards] == [[[0, 1, 2, 3]], [[4, 5, 6, 7, 8]]]


@BOTH
def test_what_accelerate_prepared_for_one_process_is_repaired_inside(fix):
    accelerate = pytest.importorskip("accelerate")
    prepared = accelerate.Accelerator(cpu=True).prepare(DataLoader(range(9), batch_size=8, shuffle=True))
    fixed = fix(prepared)
    assert type(fixed) is type(prepared)
    for _ in range(2):
        got = [b.tolist() for b in fixed]
        assert sorted(i for b in got for i in b) == list(range(9))
        assert min(map(len, got)) >= 2
    assert fixed.end_of_dataloader
    assert (fixed.total_batch_size, len(fixed)) == (8, len(got))
    assert sizes(prepared) == [8, 1]
    assert fix(fixed) is fixed


def test_a_stream_that_accelerate_prepared_for_one_process():
    accelerate = pytest.importorskip("accelerate")
    prepared = accelerate.Accelerator(cpu=True).prepare(DataLoader(Stream(9), batch_size=8))
    assert sizes(merge_tail(prepared)) == [9]


@BOTH
def test_what_accelerate_shares_between_processes_says_the_line_to_write(fix):
    data_loader = pytest.importorskip("accelerate.data_loader")
    for loader in (DataLoader(range(9), batch_size=4), DataLoader(Stream(9), batch_size=4)):
        prepared = data_loader.prepare_data_loader(loader, num_processes=2, process_index=0)
        with pytest.raises(RepairError, match="prepared by Accelerate for several processes") as caught:
            fix(prepared)
        assert "self.accelerator.prepare(bnguard.repair.merge_tail(" in (caught.value.hint or "")


# ------------------------------------------------------------------------------------------------ Lightning


@BOTH
@pytest.mark.parametrize("min_size", [2, 3])
@pytest.mark.parametrize("shape", ["by name", "by position"])
@pytest.mark.parametrize("in_hook", [False, True])
def test_lightning_puts_its_own_sampler_below(fix, min_size, shape, in_hook):
    """Lightning builds the loader anew, with a DistributedSampler, wherever it was made."""
    pytest.importorskip("lightning")
    from lightning.fabric.utilities.data import _replace_dunder_methods
    from lightning.fabric.utilities.data import _update_dataloader as update_in_fabric
    from lightning.pytorch.utilities.data import _update_dataloader

    def make():
        loader = (
            DataLoader(range(34), 4) if shape == "by position" else DataLoader(range(34), batch_size=4, shuffle=True)
        )
        return fix(loader, min_size)

    if in_hook:
        with _replace_dunder_methods(DataLoader, "dataset"), _replace_dunder_methods(BatchSampler):
            loader = make()
    else:
        loader = make()
    for update in (_update_dataloader, update_in_fabric):
        rebuilt = update(loader, DistributedSampler(range(34), 2, 0))
        assert min(sizes(rebuilt)) >= min_size
        assert sum(sizes(rebuilt)) == 17


def test_lightning_says_itself_what_it_cannot_rebuild():
    pytest.importorskip("lightning")
    from lightning.pytorch.utilities.data import _update_dataloader

    fixed = merge_tail(DataLoader(range(9), batch_sampler=[[0, 1, 2, 3], [4, 5, 6, 7], [8]]))
    with pytest.raises(TypeError, match="use_distributed_sampler=False"):
        _update_dataloader(fixed, DistributedSampler(range(9), 2, 0))
