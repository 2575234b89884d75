"""What else about a live DataLoader can change the sizes of its batches after they were planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, default_collate, default_convert

if TYPE_CHECKING:
    from collections.abc import Iterator


def notes_on(loader: DataLoader[Any]) -> Iterator[str]:
    """Yield a sentence for each part of the loader that may add samples to a batch or take some away."""
    yield from _on_collate(loader.collate_fn)
    yield from _on_getitems(loader.dataset)
    yield from _on_iteration(loader)


def _on_collate(collate: Any) -> Iterator[str]:  # noqa: ANN401 - any callable
    if collate in (default_collate, default_convert):
        return
    module = getattr(collate, "__module__", None) or type(collate).__module__
    if module.startswith("torch_geometric"):
        yield "sizes count graphs: a BatchNorm over nodes sees more values, one after pooling sees these"
        return
    name = getattr(collate, "__name__", type(collate).__name__)
    yield f"the collate function {name} may drop or join samples; the plan counts what it is given"


def _on_getitems(dataset: Any) -> Iterator[str]:  # noqa: ANN401 - any dataset
    """Look through torch's own Subset and ConcatDataset for a ``__getitems__`` of the user's."""
    for _ in range(8):
        if not type(dataset).__module__.startswith("torch.utils.data"):
            break
        dataset = getattr(dataset, "dataset", None) or next(iter(getattr(dataset, "datasets", [])), None)
    module = type(dataset).__module__
    if hasattr(type(dataset), "__getitems__") and not module.startswith(("torch.utils.data", "datasets.")):
        yield f"{type(dataset).__name__}.__getitems__ fetches whole batches and may change their size"


def _on_iteration(loader: DataLoader[Any]) -> Iterator[str]:
    kind = type(loader)
    if kind.__iter__ is DataLoader.__iter__ or kind.__module__.startswith(("torch", "accelerate", "lightning")):
        return
    yield f"{kind.__name__} overrides __iter__; the plan is that of the DataLoader below it"
