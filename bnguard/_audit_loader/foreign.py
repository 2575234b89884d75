"""Loaders that are not torch's own: the DataLoader inside them, one epoch of one that never ends, or how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from bnguard._audit_loader.sharding import is_from

HOLDERS = ("loader", "dataloader", "base_dataloader", "data_loader")
"""Where wrappers such as timm's PrefetchLoader keep the DataLoader they iterate."""


def loader_inside(value: object) -> DataLoader[Any] | None:
    """Return the DataLoader that gives the batches of a wrapper, a WebLoader or a fastai loader; None where none is."""
    if fastais_base(value):
        return _of_fastai(value)
    if is_from(value, "webdataset", "WebLoader"):
        stages: list[Any] = getattr(value, "pipeline", [])
        return stages[0] if is_without_stages(value) else DataLoader(_Staged(value), batch_size=None)
    holder = holder_of(value)
    return None if holder is None else getattr(value, holder)


class _Staged(IterableDataset[Any]):
    """The batches of a WebLoader, as its stages cut them anew."""

    def __init__(self, loader: Any) -> None:  # noqa: ANN401 - webdataset's, not imported
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


class Dealt(_Staged):
    """What Accelerate's dispatcher gives this rank; all of them take part, so that one alone cannot read it again."""

    def __iter__(self) -> Iterator[Any]:
        return self.nothing

    nothing: Iterator[Any] = iter(())


def followed_as(loader: Any) -> DataLoader[Any] | None:  # noqa: ANN401 - any loader
    """Return a DataLoader with the batches of one that cuts them itself; None of one that has them from another."""
    if is_from(loader, "accelerate", "DataLoaderDispatcher"):
        return DataLoader(Dealt(loader), batch_size=None) if loader.state.num_processes > 1 else None
    found = loader_inside(loader) if fastais_base(loader) or is_from(loader, "webdataset", "WebLoader") else None
    return found if found is not None and stood_for(found) is loader else None


def is_without_stages(loader: Any) -> bool:  # noqa: ANN401 - a WebLoader
    """Whether it gives the batches of the DataLoader inside as they are."""
    stages: list[Any] = getattr(loader, "pipeline", [])
    return len(stages) == 1 and isinstance(stages[0], DataLoader)


def holder_of(value: object) -> str | None:
    """Return the name of the attribute in which a wrapper keeps the DataLoader that it iterates."""
    return next((k for k in HOLDERS if isinstance(getattr(value, k, None), DataLoader)), None)


def loaders_by_name(value: object) -> Mapping[Any, Any] | None:
    """Return a mapping as it is, the loaders of fastai's DataLoaders by their names, and None for anything else."""
    if isinstance(value, Mapping):
        return value
    if not any((k.__module__, k.__name__) == ("fastai.data.core", "DataLoaders") for k in type(value).__mro__):
        return None
    loaders: Any = getattr(value, "loaders", ())
    return dict(zip(("train", "valid", *(f"valid {i}" for i in range(2, len(loaders)))), loaders, strict=False))


def one_epoch(batches: Any) -> Any:  # noqa: ANN401 - any iterable of lists
    """Return the batch sampler of which one pass is an epoch.

    Loaders whose workers live on (ultralytics' and YOLO's InfiniteDataLoader, timm's MultiEpochsDataLoader) go through
    it again and again, and count its batches.
    """
    return batches.sampler if is_repeated(batches) else batches


def is_repeated(batches: object) -> bool:
    """Whether this goes through another sampler for ever."""
    return type(batches).__name__ == "_RepeatSampler" and hasattr(batches, "sampler")


def how_to_go_on(value: object) -> str:
    """Return the hint for what holds no DataLoader that could be looked at."""
    if fastais_base(value):
        return "its batches follow no law that is known: bnguard preflight runs the script"
    if is_from(value, "webdataset", "WebLoader"):
        return "its stages make the batches: leave them out, and give the loader itself samples and a batch_size"
    if type(value).__module__.partition(".")[0] == "webdataset":
        return "give it to a DataLoader: webdataset.WebLoader(dataset, batch_size=…)"
    return "give a torch.utils.data.DataLoader, or several in a dict"


# ----------------------------------------------------------------------------------------------- fastai


def fastais_base(value: object) -> type | None:
    """Return fastai's own DataLoader class, which is no torch one, if the value is one of it."""
    known = ("fastai.data.load", "DataLoader")
    return next((kind for kind in type(value).__mro__ if (kind.__module__, kind.__name__) == known), None)


class CutElsewhere(Dataset[Any]):
    """The samples of a loader whose batches somebody else cuts: another library, a dataset, a collate function.

    A DataLoader over it has the sizes of those batches; nothing that is done to it changes them.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples


def is_cut_elsewhere(loader: DataLoader[Any]) -> bool:
    """Whether this only stands for a loader whose batches somebody else cuts."""
    return isinstance(loader.dataset, CutElsewhere)


def stood_for(loader: DataLoader[Any]) -> Any:  # noqa: ANN401 - other libraries', not imported
    """Return fastai's or webdataset's loader where this one stands for it, else this one."""
    return loader.dataset.loader if isinstance(loader.dataset, (_FastaiItems, _Staged)) else loader


class _FastaiItems(CutElsewhere):
    """The items of a fastai loader, as it makes them."""

    def __init__(self, loader: Any) -> None:  # noqa: ANN401 - fastai's, not imported
        super().__init__(int(loader.n))
        self.loader = loader

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - any item
        return self.loader.do_item(index)

    def do_batch(self, items: list[Any]) -> Any:  # noqa: ANN401 - any batch
        return self.loader.after_batch(self.loader.do_batch(items))


_LAW = ("chunkify", "create_batches", "sample", "__iter__", "__len__")
"""What cuts fastai's batches; a loader that does so in its own way is not known."""


def _of_fastai(loader: Any) -> DataLoader[Any] | None:  # noqa: ANN401 - see above
    """Return a DataLoader that gives the batches of fastai's; None where it cuts them in another way."""
    base = fastais_base(loader)
    own = [name for name in _LAW if getattr(type(loader), name) is not getattr(base, name) or name in vars(loader)]
    if own or loader.n is None or not loader.indexed or loader.bs is None:
        return None
    items = _FastaiItems(loader)
    return DataLoader(items, batch_size=loader.bs, drop_last=bool(loader.drop_last), collate_fn=items.do_batch)
