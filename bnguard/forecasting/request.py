"""``bnguard.forecast``: which layer × which batch × which step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from bnguard.errors import UsageError
from bnguard.facts import Mode
from bnguard.findings import Report
from bnguard.forecasting.given_loaders import audited
from bnguard.forecasting.planning import Plan
from bnguard.forecasting.reporting import Forecast, report_on
from bnguard.model.checkpoint import is_checkpoint
from bnguard.model.inputs import as_recipe
from bnguard.model.opened import check_device, opened
from bnguard.model.trace import Progress
from bnguard.untouched import untouched_process


def forecast(  # noqa: PLR0913 - what scan and audit_loader can be told
    model: nn.Module | str | Path | Sequence[nn.Module | str | Path],
    loader: DataLoader[Any] | Mapping[str, Any] | Sequence[Any] | str,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.model.inputs.given
    *,
    mode: Mode | None = None,
    keep_modes: bool = False,
    device: str = "cuda",
    world_size: int = 1,
    sharding: str = "distributed-sampler",
    replicas: int | None = None,
    micro_batches: int = 1,
    shard: str | None = None,
    names: Sequence[str] | None = None,
    eval_names: Collection[str] = (),
    count: bool = False,
    settings: Mapping[str, Any] | None = None,
    stubs: Sequence[str] = (),
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Say at which step of the first epoch training stops, in which layer and with which error, or that it never does.

    Every batch size that the loader gives to a rank, replica or micro-batch is traced once, on shapes. Evaluation
    loaders are forecast in eval mode. Models and loaders are left as they are.

    >>> report = forecast(model, loader)
    >>> report.forecasts[0].stops, report.forecasts[0].step, report.forecasts[0].layer
    (True, 2, 'layer4.0.bn1')

    Args:
        model: an ``nn.Module`` or a target, or several, as ``bnguard.scan`` takes them.
        loader: a DataLoader, or a list or dict of them; or text such as ``"train.py:make_loaders()"``; or a dict of
            the numbers that ``bnguard.audit_loader`` takes, ``dict(n=9, batch_size=8)``.
        inputs: as ``bnguard.scan`` takes them. None takes the shapes of the loader's first sample: one is fetched
            then, in this process, and the forecast's notes say so.
        mode: ``train`` or ``eval`` for every loader; None goes by their names, as ``audit_loader`` does.
        keep_modes: leave the training flag of every module as it is for training loaders, as a loop does that never
            calls ``model.train()``.
        device: whose batch_norm backend to predict: ``cuda`` or ``cpu``.
        world_size: ranks. A DistributedSampler knows its own.
        sharding: who divides the samples between them; see ``audit_loader``.
        replicas: of ``nn.DataParallel``; None takes those of a live DataParallel model, else 1.
        micro_batches: pieces that a pipeline cuts each batch into.
        shard: how an IterableDataset divides its samples between workers; see ``audit_loader``.
        names: of several loaders.
        eval_names: loaders that run in eval mode; names such as ``val`` and ``test`` do anyway.
        count: read an IterableDataset of unknown length once, in this process, to count its samples.
        settings: constructor arguments of a target.
        stubs: packages to replace by stand-ins while the target's file is imported.
        argv: ``sys.argv[1:]`` of the target's file.
        progress: called with a line before something slow.

    Returns:
        The report: ``forecasts`` for every model and loader, and the facts they were joined from. What cannot be
        known has ``stops`` None and says why in ``unknown``.

    Raises:
        BnguardError: a target cannot be found or built, an argument means nothing, or a sampler raises.

    """
    check_device(device)
    several: list[Any] = list(model) if isinstance(model, (list, tuple)) else [model]
    if not several:
        raise UsageError("there is no model to forecast", hint="give a model or a target")
    with untouched_process():
        loaders = audited(
            loader,
            argv=argv,
            stubs=stubs,
            world_size=world_size,
            sharding=sharding,
            replicas=_replicas(several) if replicas is None else replicas,
            micro_batches=micro_batches,
            shard=shard,
            names=names,
            eval_names=eval_names,
            mode=mode,
            count=count,
        )
        plan = Plan(as_recipe(inputs), loaders.each, keep_modes, device, progress or (lambda _: None))
        found: list[Forecast] = []
        for one in several:
            refuse_checkpoint(one)
            with opened(one, mode=None, device=device, settings=settings, stubs=stubs, argv=argv) as models:
                found += [forecast for each in models for forecast in plan.of(each)]
    return report_on(found, [it.fact for it in loaders.each], loaders.suggestions, torch=torch.__version__)


def _replicas(models: Sequence[Any]) -> int:
    """Return over how many devices a live DataParallel model spreads its batches."""
    spread = [len(m.device_ids) for m in models if isinstance(m, nn.DataParallel)]
    return max((1, *spread))


def refuse_checkpoint(model: object) -> None:
    """Raise UsageError for a checkpoint: it holds statistics, and nothing that could be called."""
    if isinstance(model, (str, Path)) and is_checkpoint(str(model)):
        raise UsageError(f"{model} is a checkpoint, which has no forward", hint="name the model: model.py:Net")
