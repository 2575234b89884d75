"""Loaders that hold the DataLoader to repair: prepared by Accelerate, wrapped by timm; of others, the line to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

from bnguard._audit_loader.foreign import fastais_base, holder_of, how_to_go_on, is_without_stages
from bnguard._audit_loader.sharding import is_from
from bnguard._errors import RepairError, TargetError

Repair = Callable[[Any], Any]
"""From a DataLoader to a repaired one, or to itself where it is safe."""


def repaired_inside(loader: Any, repair: Repair) -> Any:  # noqa: ANN401 - a loader of any library
    """Return a loader as this one, whose DataLoader is repaired; itself where that is safe.

    Raises:
        TargetError: this is no DataLoader, and none that is known to iterate one alone.
        RepairError: several processes share what Accelerate has made of it.

    """
    if type(loader).__module__.partition(".")[0] == "accelerate":
        return _prepared(loader, repair)
    if isinstance(loader, DataLoader):
        return repair(loader)
    if is_from(loader, "timm", "PrefetchLoader"):
        return _replaced(loader, "loader", repair)
    if is_from(loader, "webdataset", "WebLoader") and is_without_stages(loader):
        return _replaced(loader, "pipeline", lambda stages: _all_the_same([repair(stage) for stage in stages], stages))
    kind = type(loader)
    what = f"the {kind.__name__} of {kind.__module__}" if kind.__name__ == "DataLoader" else f"a {kind.__name__}"
    raise TargetError(f"{what} is no DataLoader of torch", hint=_line_for(loader))


def _all_the_same(repaired: list[Any], stages: list[Any]) -> list[Any]:
    """Return the stages themselves where none has become another."""
    return stages if all(new is old for new, old in zip(repaired, stages, strict=True)) else repaired


def _prepared(loader: Any, repair: Repair) -> Any:  # noqa: ANN401 - Accelerate's, not imported
    """Repair what Accelerate prepared for one process, which iterates the DataLoader inside as it is."""
    shared = is_from(loader, "accelerate", "DataLoaderDispatcher") and loader.state.num_processes > 1
    parts = (loader.batch_sampler, loader.sampler, loader.dataset)
    if shared or any(
        is_from(x, "accelerate", name) for x in parts for name in ("BatchSamplerShard", "IterableDatasetShard")
    ):
        raise RepairError(
            "this loader was prepared by Accelerate for several processes, which deals out its batches",
            hint="repair it before that: accelerator.prepare(bnguard.repair.merge_tail(loader)); in a Trainer's "
            "get_train_dataloader, of a DataLoader made there: "
            "return self.accelerator.prepare(bnguard.repair.merge_tail(loader))",
        )
    return _replaced(loader, "base_dataloader", repair)


def _replaced(holder: Any, name: str, repair: Repair) -> Any:  # noqa: ANN401 - any wrapper
    inner = getattr(holder, name)
    changed = repair(inner)
    if changed is inner:
        return holder
    other = object.__new__(type(holder))  # Accelerate's loaders cannot be copied: they name another class as theirs
    vars(other).update(vars(holder))
    vars(other)[name] = changed
    return other


def _line_for(loader: object) -> str:
    holder = holder_of(loader)
    if holder is not None:
        return f"repair the DataLoader inside: loader.{holder} = bnguard.repair.merge_tail(loader.{holder})"
    if fastais_base(loader) is not None:
        return "fastai cuts its own batches: loader.new(bs=…) with a size that leaves no lone sample, or drop_last=True"
    return how_to_go_on(loader)
