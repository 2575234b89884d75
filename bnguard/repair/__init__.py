"""Fixes that keep every sample, each one proven on the loader or model at hand.

For loaders ``merge_tail`` and ``balance``; for models ``allow_single_sample``, ``freeze``, ``to_group_norm``, ``fuse``
and ``to_sync``; for what the running statistics hold ``recalibrate``,
``single_update``, ``sync_buffers`` and ``batch_statistics_off``.
"""

from __future__ import annotations

from bnguard.repair._apply import Repair
from bnguard.repair._batches import (
    BalancedBatchSampler,
    FlatIndices,
    MergedBatches,
    MergedStream,
    MergeTailBatchSampler,
)
from bnguard.repair._fuse import Fusion, fuse
from bnguard.repair._loaders import balance, merge_tail
from bnguard.repair._replace import to_group_norm, to_sync
from bnguard.repair._retype import allow_single_sample, freeze
from bnguard.repair._statistics.evaluation import batch_statistics_off
from bnguard.repair._statistics.recalibrate import Moved, Recalibration, recalibrate
from bnguard.repair._statistics.single_update import single_update
from bnguard.repair._statistics.sync_buffers import sync_buffers

__all__ = [
    "BalancedBatchSampler",
    "FlatIndices",
    "Fusion",
    "MergeTailBatchSampler",
    "MergedBatches",
    "MergedStream",
    "Moved",
    "Recalibration",
    "Repair",
    "allow_single_sample",
    "balance",
    "batch_statistics_off",
    "freeze",
    "fuse",
    "merge_tail",
    "recalibrate",
    "single_update",
    "sync_buffers",
    "to_group_norm",
    "to_sync",
]
