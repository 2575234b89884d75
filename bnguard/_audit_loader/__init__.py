"""Which batch sizes a model will see: from numbers, or from a live DataLoader that stays untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnguard._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bnguard._facts.findings import Report
    from bnguard._facts.models import Mode


def audit_loader(  # noqa: PLR0913 - one keyword for each option of the command line
    loader: object = None,
    *,
    n: int | range | str | None = None,
    batch_size: int | None = None,
    drop_last: bool = False,
    split: str | Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    rounding: str = "random-split",
    kfold: int | None = None,
    world_size: int = 1,
    sharding: str = "distributed-sampler",
    sampler_drop_last: bool = False,
    uneven: bool = False,
    replicas: int = 1,
    iterable: bool = False,
    workers: int = 0,
    shard: str | None = None,
    micro_batches: int = 1,
    eval_names: Collection[str] = (),
    name: str | None = None,
    mode: Mode | None = None,
    count: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Say exactly which batch sizes an epoch brings, find every batch of one sample, and offer ways out.

    Give a live loader or numbers. A live loader is only looked at: no sample is fetched, no worker starts,
    no random state moves.

    >>> report = audit_loader(n=9, batch_size=8)
    >>> report.loaders[0].streams[0].batches
    ((8, 1), (1, 1))

    Args:
        loader: a DataLoader, or a list, tuple or dict of them; None to audit numbers.
        n: samples in the dataset; a ``range`` or ``"9..40"`` audits each size.
        batch_size: of the DataLoader, per rank.
        drop_last: of the DataLoader.
        split: ``"0.8,0.2"``, ``"5:3:2"``, floats (fractions) or integers (lengths).
        names: of the parts of the split, or of several live loaders.
        rounding: ``random-split``, ``floor``, ``round`` or ``sklearn``.
        kfold: audit the training and the held-out part of each of this many folds.
        world_size: ranks. For a live loader: as a framework that replaces its sampler would divide it.
        sharding: who divides the samples between the ranks, one of ``bnguard._audit_loader.sharding.LAWS``.
        sampler_drop_last: of the DistributedSampler.
        uneven: no sample is repeated to make the ranks equal.
        replicas: of ``nn.DataParallel``.
        iterable: the dataset is an IterableDataset.
        workers: of the DataLoader; they change batches of an IterableDataset alone.
        shard: how an IterableDataset divides its samples between workers, one of
            ``bnguard._audit_loader.sharding.workers.WORKER_SHARDINGS``.
        micro_batches: pieces that a pipeline cuts each batch into.
        eval_names: loaders that run in eval mode; names such as ``val`` and ``test`` do anyway.
        name: of the loader, where there is one.
        mode: ``train`` or ``eval`` for all loaders, whatever their names.
        count: read an IterableDataset of unknown length once, in this process, to count its samples.
        progress: called now and then with the number of batches or samples seen so far.

    Returns:
        A report; ``report.loaders`` hold the plans, ``report.findings`` the judgements.

    Raises:
        UsageError: if an option means nothing or excludes another.
        TargetError: if ``loader`` holds something that is no DataLoader, or its batch_sampler never ends.
        UserCodeError: if the user's own sampler raises.

    """
    from bnguard._audit_loader.plan import Setup

    _check_words(name, names, mode)
    setup = Setup(
        batch_size=1 if batch_size is None else batch_size,
        drop_last=drop_last,
        world_size=world_size,
        sharding=sharding,
        sampler_drop_last=sampler_drop_last,
        uneven=uneven,
        replicas=replicas,
        iterable=iterable,
        workers=workers,
        shard=shard,
        micro_batches=micro_batches,
    )
    given = (name,) if name else tuple(names or ())
    if loader is None:
        if n is None or batch_size is None:
            raise UsageError("n and batch_size are both needed", hint="--n 9 --bs 8, or name a DataLoader")
        if count:
            raise UsageError("--count counts a live IterableDataset", hint="n is known here: leave --count out")
        from bnguard._audit_loader.numbers import Request, audit_numbers, parse_sizes
        from bnguard._audit_loader.splits import parse_split

        parts = None if split is None else parse_split(split)
        request = Request(parse_sizes(n), setup, parts, given, rounding, kfold, tuple(eval_names), mode)
        return audit_numbers(request)
    numbers = (n, batch_size, split, kfold)
    if any(value is not None for value in numbers) or drop_last or iterable or workers or rounding != "random-split":
        raise UsageError(
            "a live loader knows its own samples, batch size, drop_last, split and workers",
            hint="give a loader or numbers, not both",
        )
    from bnguard._audit_loader.live import LiveRequest, audit_live

    return audit_live(loader, LiveRequest(setup, given, tuple(eval_names), mode, count, progress))


def _check_words(name: str | None, names: Sequence[str] | None, mode: str | None) -> None:
    if mode not in (None, "train", "eval"):
        raise UsageError(f"the mode {mode!r} is not known", hint="train or eval")
    if name and names:
        raise UsageError("name and names exclude each other", hint="name is for one loader")
    if isinstance(names, str):
        raise UsageError(f"names is the text {names!r}", hint="give a list, one name for each part")
