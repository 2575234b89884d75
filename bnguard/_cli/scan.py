"""``bnguard scan TARGET…``: which layers fail at a batch size."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bnguard._cli import options
from bnguard._cli.interface.help import Help

HELP = Help(
    examples=(
        ("bnguard scan model.py", "every model that the file can build"),
        ("bnguard scan model.py:Net --input 3,224,224", "one class, with the input it is for"),
        ('bnguard scan "model.py:Net(num_classes=3)"', "with constructor arguments"),
        ("bnguard scan torchvision.models:resnet18", "something installed"),
        ("bnguard scan weights.pth", "the running statistics in a checkpoint"),
    ),
)

_MODES, _DEVICES = options.among(("train", "eval")), options.among(("cuda", "cpu"))


def command(  # noqa: PLR0913 - one parameter for each option
    ctx: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="A file of models, a class, factory or expression in it, a module's, or a checkpoint.",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SHAPE",
            help="3,224,224: without the batch dimension; name=3,224,224 for a keyword, 128:int64 for a dtype; repeat "
            "for several inputs.",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "--bs", metavar="N", help="Batch size of the forward.")
    ] = 1,
    mode: Annotated[
        str, typer.Option("--mode", metavar="train|eval", help="Mode of the model.", autocompletion=_MODES)
    ] = "train",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A constructor argument; repeat for more.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="cuda|cpu", help="Whose batch_norm backend to predict.", autocompletion=_DEVICES
        ),
    ] = "cuda",
    stubs: options.Stubs = None,
    no_cuda_stand_in: options.NoCudaStandIn = False,
    fmt: options.Format = None,
    output: options.Output = None,
    fail_on: options.FailOn = "error",
    select: options.Select = None,
    ignore: options.Ignore = None,
    quiet: options.Quiet = False,
) -> int:
    """Find every BatchNorm layer and name the one that a small batch breaks first."""
    reporting = options.report_options(fmt, output, fail_on, select, ignore, quiet, targets)
    from bnguard._import_torch import import_torch

    import_torch()
    from bnguard._models.inputs import SpecInputs, parse_input
    from bnguard._models.named import parse_settings
    from bnguard._report.render import emit
    from bnguard._scan.scanner import scan

    recipe = SpecInputs(tuple(map(parse_input, inputs)), "given") if inputs else None
    report = scan(
        targets,
        recipe,
        batch_size=batch_size,
        mode=mode,
        device=device,
        settings=parse_settings(settings or []),
        stubs=stubs or [],
        argv=ctx.obj or [],
        cuda_stand_in=not no_cuda_stand_in,
        progress=lambda line: print(line, file=sys.stderr),
    )
    return emit(report, reporting)
