"""Loaders whose batch sizes only a pass over their data tells: it is made, without a model and with real workers."""

from __future__ import annotations

import time
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

MOST_SECONDS = 30.0
"""The pass is given up after this time; the sizes are then unknown."""


def counted(loader: DataLoader[Any]) -> DataLoader[Any] | None:
    """Return a stand-in that has the batch sizes of the loader's next epoch by law; None where it needs none.

    An ``IterableDataset`` divides its samples between the workers as it likes, so nothing but asking it tells how many
    each batch holds, and in which order. The stand-in holds as many samples and no data.
    """
    if not isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
        return None
    sizes = _sizes(loader)
    if sizes is None:
        return None
    batches, first = [], 0
    for size in sizes:
        batches.append(list(range(first, first + size)))
        first += size
    return DataLoader(range(first), batch_sampler=batches)  # type: ignore[arg-type] # a range is a dataset


def _sizes(loader: DataLoader[Any]) -> list[int] | None:
    """Return the sizes of all batches, None where they cannot be had: too long, a dataset that is used up, an error."""
    if loader.num_workers == 0 and iter(loader.dataset) is iter(loader.dataset):
        return None
    again: DataLoader[Any] = DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        drop_last=loader.drop_last,
        num_workers=loader.num_workers,
        collate_fn=len,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )
    sizes: list[int] = []
    deadline = time.monotonic() + MOST_SECONDS
    try:
        for size in again:
            sizes.append(int(size))
            if time.monotonic() > deadline:
                return None
    except Exception:  # noqa: BLE001 - the user's dataset: what it cannot tell is reported as not known
        return None
    return sizes
