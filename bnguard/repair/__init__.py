"""Fixes that keep every sample, each one proven on the loader or model at hand.

For loaders ``merge_tail`` and ``balance``; for models ``allow_single_sample``, ``freeze``, ``to_group_norm``, ``fuse``
and ``to_sync``.
"""

from __future__ import annotations

from bnguard.repair.batches import BalancedBatchSampler, FlatIndices, MergedBatches, MergeTailBatchSampler
from bnguard.repair.freezing import freeze
from bnguard.repair.fusing import Fusion, fuse
from bnguard.repair.group_norm import to_group_norm
from bnguard.repair.loaders import balance, merge_tail
from bnguard.repair.outcome import Repair
from bnguard.repair.single_sample import allow_single_sample
from bnguard.repair.stream import MergedStream
from bnguard.repair.sync import to_sync

__all__ = [
    "BalancedBatchSampler",
    "FlatIndices",
    "Fusion",
    "MergeTailBatchSampler",
    "MergedBatches",
    "MergedStream",
    "Repair",
    "allow_single_sample",
    "balance",
    "freeze",
    "fuse",
    "merge_tail",
    "to_group_norm",
    "to_sync",
]
