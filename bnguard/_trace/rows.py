"""Rows that the data choose: by masks, ``nonzero``, ``unique``, non-maximum suppression, counts.

What depends on such a choice is found by making it differently: in further forwards every choice leaves one row less,
or twice as many, and a layer whose input then has another shape gets as many values as the data say. One of them alone
would not do: what one choice adds to a single row the next one may take away.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from bnguard import _private_torch as private
from bnguard._trace.record import RecordedCall

if TYPE_CHECKING:
    from bnguard._trace.run_forward import Trace

Choice = Literal["own", "fewer", "double"]
"""How many rows a forward is left with where it chooses: its own number, one less, or twice as many."""

_MASKS = (torch.bool, torch.uint8)
_BY_NAME = ("nms", "nonzero", "masked_select", "unique", "repeat_interleave", "argwhere", "bincount")
"""Operators that choose, also where torch or torchvision tags none."""


class ChosenRows(private.dispatch_mode()):  # type: ignore[misc]
    """A mode under which a forward's choices of rows are seen, and made differently.

    Args:
        choice: how many rows to leave.

    Attributes:
        seen: whether there was any.

    """

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.seen = False
        self._choice = choice
        self._counts: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - as torch declares it
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - as torch declares it
        """Run the operator, and change what it chose."""
        result = func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", func)).partition(".")[0].lstrip("_")
        if name == "local_scalar_dense":
            dimension = 0 if any(count() is args[0] for count in self._counts) else None
        else:
            dimension = _chosen_dimension(func, name, args)
        if name in ("sum", "count_nonzero") and (name != "sum" or args[0].dtype is torch.bool):
            self._counts.append(weakref.ref(result))
        if dimension is None:
            return result
        self.seen = True
        return result if self._choice == "own" else _other(result, dimension, double=self._choice == "double")


def data_dependent(trace: Trace, others: Iterable[Trace]) -> list[RecordedCall]:
    """Return the calls of a trace, those marked whose shape another choice of rows has changed.

    Where another forward ended earlier, by an error, what it did not come to is marked too.
    """
    marked = trace.calls
    for other in others:
        marked = _marked(marked, trace, other)
    return marked


def _marked(calls: list[RecordedCall], trace: Trace, other: Trace) -> list[RecordedCall]:
    shapes: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for recorded in other.calls:
        shapes[id(recorded.owner)].append(recorded.call.shape)
    ended = other.error is not None and trace.error is None
    marked = []
    for recorded in calls:
        known = shapes[id(recorded.owner)]
        changed = known.pop(0) != recorded.call.shape if known else ended
        marked.append(recorded._replace(data_dependent=recorded.data_dependent or changed))
    return marked


def _chosen_dimension(func: Any, name: str, args: Sequence[Any]) -> int | None:  # noqa: ANN401 - an operator
    """Return along which dimension of its result the operator has chosen; None where it chooses nothing."""
    if name == "index":
        masks = [i for i, t in enumerate(args[1]) if isinstance(t, Tensor) and t.dtype in _MASKS]
        return masks[0] if masks else None
    tagged = torch.Tag.dynamic_output_shape in getattr(func, "tags", ())
    return 0 if tagged or name.startswith(_BY_NAME) else None


def _other(result: Any, dimension: int, *, double: bool) -> Any:  # noqa: ANN401 - a tensor, a number or a tuple of tensors
    if isinstance(result, int):
        return 2 * result if double else result - 1 if result > 1 else result + 1
    if isinstance(result, tuple):
        return (_other(result[0], dimension, double=double), *result[1:])
    if not isinstance(result, Tensor) or result.dim() <= dimension or not result.shape[dimension]:
        return result
    rows = result.shape[dimension]
    if rows > 1 and not double:
        return result.narrow(dimension, 0, rows - 1).contiguous()
    return torch.cat([result, result], dimension)
