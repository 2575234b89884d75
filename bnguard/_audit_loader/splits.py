"""How many samples each part of a split gets, under each rounding convention that people use."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial, reduce
from typing import NamedTuple

from bnguard._errors import UsageError

LARGEST = 2**63 - 1
"""The largest number of samples that a length in PyTorch (a signed 64-bit integer) can hold."""


class Split(NamedTuple):
    """What the user asked for: fractions of the dataset, or the lengths themselves.

    Attributes:
        fractions: of the whole, in double precision as the libraries compute them; empty for lengths.
        lengths: absolute numbers of samples; empty for fractions.

    """

    fractions: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()

    @property
    def parts(self) -> int:
        """How many parts the dataset falls into."""
        return len(self.fractions) or len(self.lengths)


def parse_split(value: str | Sequence[float]) -> Split:
    """Read a split: ``5:3:2`` are ratios, ``0.8,0.2`` are fractions, ``80,20`` are lengths.

    Raises:
        UsageError: if a part is no number, negative, NaN or infinite, or the fractions exceed 1.

    """
    if isinstance(value, str):
        return _ratios(value) if ":" in value else _parts([_number(p, value) for p in value.split(",")], value)
    return _parts(list(value), ",".join(str(part) for part in value))


def _ratios(text: str) -> Split:
    parts = [_number(part, text) for part in text.split(":")]
    total = math.fsum(parts)
    if any(part < 0 or not math.isfinite(part) for part in parts) or not 0 < total < math.inf:
        raise UsageError(f"the split {text!r} has a part below zero or no sum", hint="write it as 8:2 or 5:3:2")
    return Split(fractions=tuple(part / total for part in parts))


def _number(part: str, text: str) -> float:
    for read in (int, float):
        with suppress(ValueError):
            return read(part)
    raise UsageError(
        f"the split {text!r} has a part that is no number: {part.strip()!r}",
        hint="write fractions as 0.8,0.2, ratios as 5:3:2 or lengths as 80,20",
    )


def _parts(parts: list[float], text: str) -> Split:
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (int, float)) or not math.isfinite(part) or part < 0:
            raise UsageError(f"the split {text!r} has a part that is no size: {part!r}", hint="0.8,0.2 is one way")
    total = math.fsum(parts)
    if all(isinstance(part, int) for part in parts) and total != 1:
        return Split(lengths=tuple(int(part) for part in parts))
    if total > 1 and not math.isclose(total, 1):
        raise UsageError(f"the split {text!r} adds up to {total:g}, more than 1", hint="ratios are written 8:2")
    return Split(fractions=tuple(float(part) for part in parts))


def split_sizes(n: int, split: Split, rounding: str) -> tuple[int, ...]:
    """Return how many of ``n`` samples each part holds; the same numbers as the library itself gives.

    Raises:
        UsageError: if the library would refuse this split of this many samples.

    """
    if split.lengths:
        if sum(split.lengths) != n:
            raise UsageError(
                f"the lengths of the split add up to {sum(split.lengths)}, and there are {n} samples",
                hint="whole numbers with commas are lengths; ratios are written with colons, as 8:2",
            )
        return split.lengths
    return ROUNDINGS[rounding].divide(n, split.fractions)


def _random_split(n: int, fractions: tuple[float, ...]) -> tuple[int, ...]:
    _require_whole(fractions, "random_split")
    sizes = [math.floor(n * f) for f in fractions]
    rest = n - sum(sizes)
    if rest < 0:  # beyond 2**53 samples a double no longer holds n, and random_split refuses its own sum
        raise UsageError(f"random_split refuses {n} samples: double precision makes the parts too large")
    each, more = divmod(rest, len(sizes))
    return tuple(size + each + (i < more) for i, size in enumerate(sizes))


def _by_hand(cut: Callable[[float], int], n: int, fractions: tuple[float, ...]) -> tuple[int, ...]:
    whole = math.isclose(math.fsum(fractions), 1)
    sizes = [cut(n * f) for f in fractions]
    if whole:  # `len(dataset) - n_train - …`: the last part gets what the others leave
        sizes[-1] = n - sum(sizes[:-1])
    if sizes[-1] < 0 or sum(sizes) > n:
        raise UsageError(f"rounding {n} samples into {len(sizes)} parts gives more than {n}")
    return tuple(sizes)


def _train_test_split(n: int, fractions: tuple[float, ...]) -> tuple[int, ...]:
    """Cut the last part off, then the one before it from what remains, as nested calls do."""
    _require_whole(fractions, "nested train_test_split")
    sizes: list[int] = []
    left = n
    for last in range(len(fractions) - 1, 0, -1):
        share = fractions[last] / math.fsum(fractions[: last + 1]) if last < len(fractions) - 1 else fractions[last]
        if not 0 < share < 1:
            raise UsageError("train_test_split refuses a part of 0 or of everything", hint="leave that part out")
        size = math.ceil(share * left)
        if size >= left:
            raise UsageError(f"train_test_split refuses {n} samples: the training part would be empty")
        sizes.append(size)
        left -= size
    return (left, *reversed(sizes))


def _require_whole(fractions: tuple[float, ...], who: str) -> None:
    total = math.fsum(fractions)
    if not math.isclose(total, 1):
        raise UsageError(f"the fractions add up to {total:g}; {who} wants 1", hint="name every part, as in 0.8,0.2")


class Rounding(NamedTuple):
    """A convention by which fractions become sizes: how a sentence calls it, and the sizes of n samples."""

    words: str
    divide: Callable[[int, tuple[float, ...]], tuple[int, ...]]


ROUNDINGS = {
    "random-split": Rounding("random_split", _random_split),  # torch.utils.data
    "floor": Rounding("int(f * n)", partial(_by_hand, int)),  # the last part gets what the others leave
    "round": Rounding("round(f * n)", partial(_by_hand, round)),
    # Applied again to the training part where there are more than two.
    "sklearn": Rounding("scikit-learn's train_test_split", _train_test_split),
}


def float_sum_notes(split: Split) -> Iterator[str]:
    """Say where ``random_split`` of older Pythons refuses fractions that add up to 1 on paper.

    ``sum`` adds floats one by one up to Python 3.11 and with a compensation from 3.12 on, so that some lists
    exceed 1 by one unit in the last place in the first and not in the second.
    """
    total = reduce(operator.add, split.fractions, 0.0)
    if total > 1 and math.isclose(total, 1):
        yield f"random_split refuses these fractions up to Python 3.11, where their sum is {total!r}"


def fold_sizes(n: int, folds: int) -> tuple[tuple[int, int, int], ...]:
    """Return ``(first fold, last fold, samples held out)`` per group of equal folds, folds counted from 1.

    The first ``n % folds`` folds hold one sample more (scikit-learn's KFold).

    Raises:
        UsageError: if there are fewer than two folds or more folds than samples.

    """
    if folds < 2:
        raise UsageError(f"--kfold {folds} makes no split", hint="two folds are the fewest")
    if folds > n:
        raise UsageError(f"{folds} folds are more than the {n} samples", hint=f"use at most {n} folds")
    size, longer = divmod(n, folds)
    groups = ((1, longer, size + 1), (longer + 1, folds, size))
    return tuple(group for group in groups if group[0] <= group[1])
