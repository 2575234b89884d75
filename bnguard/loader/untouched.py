"""Looking at a user's sampler without leaving a trace: on a copy, with every random state put back."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import Dataset

from bnguard.errors import BnguardError, UserCodeError
from bnguard.loader.sizes import runs
from bnguard.untouched import random_states_kept
from bnguard.usercode import one_line, user_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bnguard.loader_facts import Runs

MOST_BATCHES = 1_000_000
"""A batch_sampler is followed this far; an endless one has no epoch to speak of."""

MOST_SECONDS = 30.0
"""… and no longer than this."""

PASSES = 3
"""Epochs that are looked at where one is short, since a sampler that shuffles may vary its sizes."""


class Seen(NamedTuple):
    """What one pass over a sampler gave: sizes in order, and whether it came to its end."""

    sizes: Runs
    ended: bool


class CannotCopyError(Exception):
    """The sampler cannot be copied, and following the original would move its state."""


def private_copy(sampler: object, dataset: object) -> Any:  # noqa: ANN401 - the type of what is copied
    """Return a deep copy that shares the datasets and nothing else.

    Raises:
        CannotCopyError: if a part of it refuses, such as a generator or an open file.

    """
    shared: dict[int, object] = {id(dataset): dataset}
    _share_datasets(sampler, shared, depth=4)
    try:
        return copy.deepcopy(sampler, dict(shared))
    except Exception as error:
        raise CannotCopyError(f"{type(error).__name__}: {error}") from error


def _share_datasets(owner: object, shared: dict[int, object], depth: int) -> None:
    for value in vars(owner).values() if depth and hasattr(owner, "__dict__") else ():
        if isinstance(value, Dataset):
            shared[id(value)] = value
        elif "sampler" in type(value).__name__.lower():
            _share_datasets(value, shared, depth - 1)


def follow(
    sampler: object,
    dataset: object,
    measure: Callable[[Any], int],
    progress: Callable[[int], None] | None,
    passes: int = PASSES,
) -> list[Seen]:
    """Return the sizes of up to ``passes`` epochs of a copy of the sampler.

    Args:
        sampler: any iterable of batches of indices, or of indices.
        dataset: of the loader; the copy shares it.
        measure: turns one item into its size.
        progress: called with the number of items seen.
        passes: how many epochs; fewer where one is long.

    Raises:
        CannotCopyError: if no copy can be made.
        UserCodeError: if the sampler raises.

    """
    with random_states_kept():
        mine = sampler if isinstance(sampler, (list, tuple, range)) else private_copy(sampler, dataset)
        seen: list[Seen] = []
        for epoch in range(1 if isinstance(mine, (list, tuple, range)) else passes):
            if epoch and hasattr(mine, "set_epoch"):
                mine.set_epoch(epoch)
            seen.append(_one_pass(mine, measure, progress))
            items = sum(count for _, count in seen[-1].sizes)
            if not items or items * passes > MOST_BATCHES // 10 or not seen[-1].ended:
                break
        return seen if seen[-1].sizes or len(seen) == 1 else seen[:-1]


def _one_pass(mine: Iterable[Any], measure: Callable[[Any], int], progress: Callable[[int], None] | None) -> Seen:
    sizes: list[tuple[int, int]] = []
    deadline = time.monotonic() + MOST_SECONDS
    done = 0
    try:
        for item in mine:
            size = measure(item)
            if sizes and sizes[-1][0] == size:
                sizes[-1] = (size, sizes[-1][1] + 1)
            else:
                sizes.append((size, 1))
            done += 1
            if done % 1024 == 0 and progress:
                progress(done)
            if done >= MOST_BATCHES or (done % 1024 == 0 and time.monotonic() > deadline):
                return Seen(runs(*sizes), ended=False)
    except BnguardError:
        raise
    except Exception as error:
        raise user_error("the sampler", error) from error
    return Seen(runs(*sizes), ended=True)


def user_error(what: str, error: Exception) -> UserCodeError:
    """Return the error for the user's own code."""
    hint = "it is the loader's own code"
    return UserCodeError(f"{what} raised {one_line(error)}", detail=user_traceback(error), hint=hint)


def count_items(dataset: object, progress: Callable[[int], None] | None) -> tuple[int, bool]:
    """Read a copy of an IterableDataset once; return how many samples came and whether it ended.

    Raises:
        CannotCopyError: if it can be read only once and no copy can be made.
        UserCodeError: if it raises.

    """
    with random_states_kept():
        try:
            mine: Any = copy.deepcopy(dataset)
        except Exception as error:
            raise CannotCopyError(f"{type(error).__name__}: {error}") from error
        seen = _one_pass(mine, lambda _item: 1, progress)
    return sum(count for _, count in seen.sizes), seen.ended
