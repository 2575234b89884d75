"""``bnguard.forecast``: which layer × which batch × which step."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from bnguard._audit_loader import audit_loader
from bnguard._audit_loader.live import LiveRequest, audit_live, live_holders, live_loaders
from bnguard._audit_loader.names import mode_of
from bnguard._audit_loader.plan import Setup
from bnguard._audit_loader.reading import Reading, is_own_loader, read, why_read
from bnguard._errors import UsageError, did_you_mean
from bnguard._facts.findings import Report
from bnguard._facts.loaders import LoaderFact, Suggestion
from bnguard._facts.models import Mode
from bnguard._forecast.batch_inputs import way_of_calling
from bnguard._forecast.inputs import IN_PYTHON, InputResolver
from bnguard._forecast.join import Feed, foresee
from bnguard._forecast.read import as_read, feed_of, planned_kinds
from bnguard._forecast.report import Forecast, report_on
from bnguard._models.guess import as_wanted
from bnguard._models.inputs import Inputs, as_recipe
from bnguard._models.wrappers import finds_no_device
from bnguard._scan.checkpoint import is_checkpoint
from bnguard._stand_ins import cuda_standing_in, telling
from bnguard._targets import load_object
from bnguard._trace.models import TraceableModel, check_device, open_live_model, open_models
from bnguard._trace.trace import Progress
from bnguard._untouched import quiet, untouched_process


def forecast(  # noqa: PLR0913 - what scan and audit_loader can be told
    model: nn.Module | str | Path | Sequence[nn.Module | str | Path],
    loader: DataLoader[Any] | Mapping[str, Any] | Sequence[Any] | str,
    inputs: Any = None,  # noqa: ANN401 - see bnguard._models.inputs.given
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
    cuda_stand_in: bool = True,
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
        loader: a DataLoader, or a list or dict of them; or any object that gives batches each time it is iterated; or
            text such as ``"train.py:make_loaders()"``; or a dict of the numbers that ``bnguard.audit_loader`` takes,
            ``dict(n=9, batch_size=8)``.
        inputs: as ``bnguard.scan`` takes them. None takes the shapes of the loader's first sample: one is fetched
            then, in this process, and the forecast's notes say so. Where the sampler alone does not say how many rows
            come (a collate function of the user's, a stream with a length …) an epoch is read.
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
        cuda_stand_in: let the CPU stand in for CUDA, where there is no device that can be used.
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
    tell = progress or (lambda _: None)
    with untouched_process(), cuda_standing_in(cuda_stand_in) as stood_in:
        loaders = audited(
            loader,
            argv=argv,
            stubs=stubs,
            progress=tell,
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
        shared = ForecastSettings(as_recipe(inputs), loaders.each, keep_modes, device, tell)
        found: list[Forecast] = []
        for one in several:
            refuse_checkpoint(one)
            with open_models(one, mode=None, device=device, settings=settings, stubs=stubs, argv=argv) as models:
                forecasts = [forecast for each in models for forecast in shared.of(each)]
            if replicas is None and isinstance(one, nn.Module) and finds_no_device(one):
                assumed = "one device for DataParallel, as replicas= does not say how many"
                forecasts = [f._replace(fact=f.fact.assuming(assumed)) for f in forecasts]
            found += forecasts
    report = report_on(found, [it.fact for it in loaders.each], loaders.suggestions, torch=torch.__version__)
    return telling(report, stood_in)


def _replicas(models: Sequence[Any]) -> int:
    """Return over how many devices a live DataParallel model spreads its batches."""
    spread = [len(m.device_ids) for m in models if isinstance(m, nn.DataParallel)]
    return max((1, *spread))


def refuse_checkpoint(model: object) -> None:
    """Raise UsageError for a checkpoint: it holds statistics, and nothing that could be called."""
    if isinstance(model, (str, Path)) and is_checkpoint(str(model)):
        raise UsageError(f"{model} is a checkpoint, which has no forward", hint="name the model: model.py:Net")


class OneLoader(NamedTuple):
    """A loader as audited, itself (None where it is given by numbers), and what was read of it, where it had to be."""

    fact: LoaderFact
    live: DataLoader[Any] | None
    reading: Reading | None = None


class Audited(NamedTuple):
    """The loaders of a forecast and the ways out that the audit found."""

    each: tuple[OneLoader, ...]
    suggestions: Sequence[Suggestion]


def audited(
    loader: object,
    *,
    argv: Sequence[str],
    stubs: Sequence[str],
    progress: Progress,
    **options: Any,  # noqa: ANN401 - of audit_loader
) -> Audited:
    """Audit what the ``loader`` argument stands for.

    Raises:
        BnguardError: it cannot be loaded or audited.

    """
    if isinstance(loader, str):
        with quiet():
            loader = load_object(loader, argv=argv, stubs=stubs)
    if isinstance(loader, Mapping) and not live_loaders(loader) and {"n", "batch_size"} & set(loader):
        return _numbers(loader, options)
    if is_own_loader(loader):
        return Audited(
            (_read(OneLoader(_unplanned(loader, options), None), loader, streams=True, progress=progress),), ()
        )
    report = audit_loader(loader, **options)
    return with_read(loader, report.loaders, report.suggestions, streams=options["count"], progress=progress)


def with_read(
    loader: object,
    facts: Sequence[LoaderFact],
    suggestions: Sequence[Suggestion],
    *,
    streams: bool,
    progress: Progress,
) -> Audited:
    """Return audited loaders, each of which was read where its plan alone does not say what comes.

    Args:
        loader: as given: what holds them.
        facts: of the audit.
        suggestions: of the audit; those for batches that do not come are left out.
        streams: whether an IterableDataset may be read that does not say how long it is.
        progress: told before a loader is read.

    """
    each = map(OneLoader, facts, (live for _, live in live_loaders(loader)))
    found = tuple(map(partial(_read, streams=streams, progress=progress), each, live_holders(loader)))
    other = {one.fact.name for one, planned in zip(found, facts, strict=True) if one.fact is not planned}
    return Audited(found, [way for way in suggestions if way.loader not in other])


def _unplanned(loader: object, options: Mapping[str, Any]) -> LoaderFact:
    """Return the fact of a loader class of the user's, of which nothing is known before it is read."""
    name = next(iter(options["names"] or ()), "loader")
    mode: Mode = options["mode"] or mode_of(name, options["eval_names"])
    why = f"a {type(loader).__name__} is no DataLoader: what it gives is known by reading it alone"
    return LoaderFact(
        name,
        mode,
        samples=None,
        batch_size=None,
        drop_last=False,
        streams=(),
        unknown=why,
        replicas=options["replicas"],
        micro_batches=options["micro_batches"],
    )


def _read(one: OneLoader, holder: object, *, streams: bool, progress: Progress) -> OneLoader:
    """Read the loader where its sampler alone does not say what comes; the fact is then what came."""
    why = why_read(holder, streams=streams)
    if why is None:
        return one
    progress(f"{one.fact.name}: {why}; reading an epoch of it …")
    reading = read(holder, why)
    planned = planned_kinds(reading, one.fact) is not None
    return OneLoader(one.fact if planned else as_read(one.fact, reading), one.live, reading)


def _numbers(numbers: Mapping[str, Any], options: dict[str, Any]) -> Audited:
    known = list(inspect.signature(audit_loader).parameters)[1:]
    wrong = next((key for key in numbers if key not in known), None)
    if wrong is not None:
        hint = did_you_mean(str(wrong), known) or f"they are {', '.join(known)}"
        raise UsageError(f"the numbers of a loader have no {wrong!r}", hint=hint)
    if isinstance(numbers.get("n"), range) or ".." in str(numbers.get("n")):
        raise UsageError("a forecast is of one number of samples, not of a range", hint="audit_loader takes ranges")
    options.pop("count")
    report = audit_loader(**{**options, **numbers})
    return Audited(tuple(OneLoader(fact, None) for fact in report.loaders), report.suggestions)


@dataclass(frozen=True)
class ForecastSettings:
    """The settings of one forecast.

    Attributes:
        inputs: of every model; None where its loaders, or the model itself, are to say.
        loaders: that feed each model, in the order of the forecasts.
        keep_modes: leave the training flag of every module as it is for training loaders.
        device: whose batch_norm backend to predict.
        progress: told before something slow.
        spelling: how the reader gives an input, in notes.

    """

    inputs: Inputs | None
    loaders: Sequence[OneLoader]
    keep_modes: bool
    device: str
    progress: Progress
    spelling: tuple[str, str] = IN_PYTHON

    def of(self, model: TraceableModel) -> Iterator[Forecast]:
        """Forecast one model on every loader."""
        return foresee(model, self._feeds(model), self.device, self.progress)

    def _feeds(self, model: TraceableModel) -> Iterator[Feed]:
        found = InputResolver(self.progress, self.spelling)
        given = () if self.inputs is None else (as_wanted(model.tracer.model, self.inputs),)
        for loader in self.loaders:
            called = None if self.keep_modes and loader.fact.mode == "train" else loader.fact.mode
            if loader.fact.steps == 0:
                yield Feed(loader.fact, (), called)
                continue
            model.tracer.set_mode(called)
            if loader.reading is not None:
                yield feed_of(loader.fact, loader.reading, given, called, partial(way_of_calling, model, self.progress))
                continue
            if given:
                yield Feed(loader.fact, given, called)
                continue
            its = found.find(model, loader.fact, loader.live)
            calls = () if its.inputs is None else (its.inputs,)
            yield Feed(loader.fact, calls, called, its.notes, its.unknown, its.assumption)


def forecast_calls(  # noqa: PLR0913 - what a recording knows
    model: nn.Module,
    loaders: Mapping[str, DataLoader[Any]],
    recipes: Mapping[str, Inputs | Sequence[Inputs]],
    *,
    name: str | None = None,
    modes: Mapping[str, Mode | None] | None = None,
    setup: Setup | None = None,
    device: str = "cuda",
    command: str = "forecast",
    progress: Progress | None = None,
) -> Report:
    """Say where the first epoch of each loader stops, given the calls that one step makes of the model.

    The model and the loaders are left exactly as they are.

    Args:
        model: the root that the training loop calls.
        loaders: by name.
        recipes: by the loader's name, the call that a step makes, or all of them in their order (a discriminator
            sees real samples, then false ones). A loader without a recipe is reported as not known.
        name: of the model in the report; its class where None.
        modes: by the loader's name, what is called on the model before its epoch: ``train``, ``eval``, or None, the
            default, to leave every training flag as it is: the loader is then judged as the root's own flag says.
        setup: ranks, replicas, micro-batches. Batch sizes are the loaders' own.
        device: whose batch_norm backend to predict.
        command: of the report.
        progress: called with a line before something slow.

    Returns:
        The report: ``forecasts`` in the order of the loaders, ``models``, ``loaders``, findings, ways out.

    Raises:
        BnguardError: the setup means nothing, or a loader's own code raises.

    """
    check_device(device)
    called = modes or {}
    facts: list[LoaderFact] = []
    suggested: list[Suggestion] = []
    for loader_name, loader in loaders.items():
        chosen = setup or Setup(batch_size=1)
        mode: Mode = called.get(loader_name) or ("train" if model.training else "eval")
        audit = audit_live(loader, LiveRequest(chosen, names=(loader_name,), mode=mode))
        facts += audit.loaders
        suggested += audit.suggestions
    with untouched_process():
        traceable = open_live_model(model, None, device)
        if name is not None:
            traceable = replace(traceable, target=name)
        feeds = [_feed(fact, recipes.get(fact.name), called.get(fact.name)) for fact in facts]
        found = list(foresee(traceable, feeds, device, progress or (lambda _: None)))
    return report_on(found, facts, suggested, command, torch=torch.__version__)


def _feed(loader: LoaderFact, recipe: Inputs | Sequence[Inputs] | None, called: Mode | None) -> Feed:
    if recipe is None:
        return Feed(
            loader, (), called, unknown="how the model's arguments follow the size of its batches was not recorded"
        )
    return Feed(loader, tuple(recipe) if isinstance(recipe, Sequence) else (recipe,), called)
