"""``bnguard audit-loader``: which batch sizes will come, from numbers or from live DataLoaders.

Annotations are not postponed here: typer reads them, and compiling two dozen strings takes longer than the audit.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnguard._audit_loader.sharding import LAWS
from bnguard._audit_loader.sharding.workers import WORKER_SHARDINGS
from bnguard._audit_loader.splits import ROUNDINGS
from bnguard._cli import options
from bnguard._cli.interface.help import Help
from bnguard._errors import UsageError

if TYPE_CHECKING:
    from bnguard._facts.findings import Report

HELP = Help(
    examples=(
        ("bnguard audit-loader --n 9 --bs 8", "from numbers"),
        ("bnguard audit-loader --n 9..40 --bs 8", "for which dataset sizes?"),
        ("bnguard audit-loader --n 1000 --bs 32 --split 0.8,0.2", "of a random split"),
        ("bnguard audit-loader train.py:train_loader", "a live DataLoader"),
    ),
)
_RANKS, _INSIDE = "Ranks", "Workers and pieces"


def _option(
    names: str, text: str, panel: str = "The loader", metavar: str | None = None, words: Iterable[str] = ()
) -> Any:  # noqa: ANN401
    text += f" {options.one_of(words)}" if words else ""
    completion = options.among(words) if words else None
    return typer.Option(*names.split(), help=text, rich_help_panel=panel, metavar=metavar, autocompletion=completion)


def command(  # noqa: PLR0913 - one parameter for each option
    ctx: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET]...", help="Live loaders: train.py:train_loader, train.py:make_loaders()."),
    ] = None,
    n: Annotated[str | None, _option("--n", "Samples; 9..40 audits a range.", metavar="N")] = None,
    batch_size: Annotated[int | None, _option("--bs --batch-size", "Batch size, per rank.", metavar="N")] = None,
    drop_last: Annotated[bool, _option("--drop-last", "The loader drops its last, shorter batch.")] = False,
    split: Annotated[str | None, _option("--split", "0.8,0.2 or 5:3:2, or lengths 80,20.", metavar="PARTS")] = None,
    names: Annotated[str | None, _option("--names", "Of the parts, or of live loaders.", metavar="A,B")] = None,
    rounding: Annotated[
        str, _option("--rounding", "How the split rounds.", metavar="NAME", words=ROUNDINGS)
    ] = "random-split",
    kfold: Annotated[int | None, _option("--kfold", "Audit K folds.", metavar="K")] = None,
    eval_names: Annotated[
        list[str] | None, _option("--eval", "Runs in eval mode; val, test do anyway.", metavar="NAME")
    ] = None,
    count: Annotated[bool, _option("--count", "Read an IterableDataset once to count it.")] = False,
    world_size: Annotated[int, _option("--world-size", "Ranks.", _RANKS, "N")] = 1,
    sharding: Annotated[
        str, _option("--sharding", "Who divides the samples between ranks.", _RANKS, "NAME", LAWS)
    ] = "distributed-sampler",
    sampler_drop_last: Annotated[
        bool, _option("--sampler-drop-last", "DistributedSampler(drop_last=True).", _RANKS)
    ] = False,
    uneven: Annotated[bool, _option("--uneven", "Ranks are not made equal by repeating samples.", _RANKS)] = False,
    replicas: Annotated[int, _option("--replicas", "Devices of nn.DataParallel.", _INSIDE, "N")] = 1,
    micro_batches: Annotated[int, _option("--micro-batches", "Pieces of each batch in a pipeline.", _INSIDE, "N")] = 1,
    iterable: Annotated[bool, _option("--iterable", "An IterableDataset: each worker batches.", _INSIDE)] = False,
    workers: Annotated[int, _option("--workers", "num_workers of the loader.", _INSIDE, "N")] = 0,
    shard: Annotated[
        str | None, _option("--shard", "How the dataset divides between workers.", _INSIDE, "NAME", WORKER_SHARDINGS)
    ] = None,
    stubs: options.Stubs = None,
    fake_data: options.FakeData = None,
    no_cuda_stand_in: options.NoCudaStandIn = False,
    fmt: options.Format = None,
    output: options.Output = None,
    fail_on: options.FailOn = "error",
    select: options.Select = None,
    ignore: options.Ignore = None,
    quiet: options.Quiet = False,
) -> int:
    """Predict every batch size of an epoch, and find the batches that hold one sample."""
    from bnguard._audit_loader import audit_loader
    from bnguard._report.render import emit

    chosen = options.report_options(fmt, output, fail_on, select, ignore, quiet, targets or ())
    keywords: dict[str, Any] = {
        "names": [part.strip() for part in names.split(",")] if names else None,
        "eval_names": eval_names or (),
        "world_size": world_size,
        "sharding": sharding,
        "sampler_drop_last": sampler_drop_last,
        "uneven": uneven,
        "replicas": replicas,
        "micro_batches": micro_batches,
        "shard": shard,
        "count": count,
        "n": n,
        "batch_size": batch_size,
        "drop_last": drop_last,
        "split": split,
        "rounding": rounding,
        "kfold": kfold,
        "iterable": iterable,
        "workers": workers,
    }
    if not targets:
        if stubs or fake_data:
            raise UsageError("--stub and --fake-data are for live loaders", hint="name one: train.py:train_loader")
        return emit(audit_loader(**keywords), chosen)
    from bnguard._fix.told.reports import with_edits
    from bnguard._import_torch import import_torch
    from bnguard._stand_ins import StandIns, standing_in
    from bnguard._stand_ins.request import samples, telling

    import_torch()
    wanted = StandIns(tuple(stubs or ()), samples(fake_data), cuda=not no_cuda_stand_in)
    with standing_in(wanted) as stood_in:
        report = _audit_targets(targets, ctx.obj or [], keywords, quiet)
    file = targets[0].partition(":")[0]
    script = file if len(targets) == 1 and file.endswith(".py") else None
    return emit(with_edits(telling(report, stood_in), script), chosen)


def _audit_targets(targets: list[str], argv: list[str], keywords: dict[str, Any], quiet: bool) -> "Report":
    from bnguard._audit_loader import audit_loader
    from bnguard._report.formats.console.progress import progress as progress_line
    from bnguard._targets import load_object

    if len(set(targets)) != len(targets):
        raise UsageError("a TARGET is named twice", hint="name each loader once")
    loaded = {text: load_object(text, argv=argv) for text in targets}
    with progress_line("looking at batch indices", quiet=quiet) as progress:
        if len(targets) > 1:
            return audit_loader(
                {_short(text, targets): it for text, it in loaded.items()}, **keywords, progress=progress
            )
        only = loaded[targets[0]]
        single = None if keywords["names"] or isinstance(only, (dict, list, tuple)) else _short(targets[0], targets)
        return audit_loader(only, **keywords, name=single, progress=progress)


def _short(text: str, targets: list[str]) -> str:
    """Return the attribute of ``train.py:train_loader``, or the whole target where two are alike."""
    attribute = text.rpartition(":")[2] if "(" not in text else text.partition("(")[0].rpartition(":")[2]
    same = [other for other in targets if other != text and other.partition("(")[0].endswith(f":{attribute}")]
    return text if same or not attribute else attribute
