"""From what was seen of the first training step to a report on the whole epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from bnguard._audit_loader.names import stated_mode
from bnguard._audit_loader.plan import Setup
from bnguard._diagnose.diagnose import diagnose
from bnguard._errors import BnguardError
from bnguard._facts.diagnosis import Diagnosis, headline
from bnguard._facts.findings import Report
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.models import Mode
from bnguard._forecast import forecast_calls
from bnguard._models.inputs import Inputs
from bnguard._preflight.batches import SeenLoader
from bnguard._preflight.counted import counted
from bnguard._preflight.evaluating import never_calls_eval
from bnguard._preflight.gather import joined
from bnguard._preflight.naming import Names, distinct
from bnguard._preflight.recorder import Recorder, SeenCall, World
from bnguard._remedies import EVAL_MODE, Advice
from bnguard._rules.runtime import of_failure
from bnguard._usercode import one_line


@dataclass(frozen=True)
class Use:
    """How one model uses one loader.

    Attributes:
        recipes: the calls of a step.
        mode: that is set before its epoch; None where the modules stay as they were in the step.
        note: how that is known, where it was not seen.
        fix: what to do if the loader stops there, where that is known better than from the loader.

    """

    recipes: tuple[Inputs, ...]
    mode: Mode | None
    note: str | None = None
    fix: tuple[Advice, ...] = ()


def forecast(recorder: Recorder, names: Names) -> Report:
    """Return the forecast for every model that was trained, on every loader that was made.

    Raises:
        BnguardError: the models were trained on something that came from no DataLoader.

    """
    if not any(s.trained for s in recorder.loaders):
        raise BnguardError(
            "the script trains without a torch.utils.data.DataLoader, so the sizes of its batches are not known",
            hint="describe them to `bnguard audit-loader --n … --bs …`, or run the script under `bnguard run`",
        )
    loaders = loader_names(recorder, names)
    stand_ins = {s: counted(s.loader) or s.loader for s in loaders}
    untrained = {c.model for c in recorder.calls} - set(recorder.modes)
    others = {name.rpartition(".")[2] for model in untrained if (name := names.of(model))}
    silent = not recorder.trained_by_library and never_calls_eval(others)
    reports = []
    for model, name in model_names(recorder, names).items():
        for module, flag in recorder.modes[model].items():
            module.training = flag  # as they were when the step began
        uses = {s: use for s in loaders if (use := _use(s, model, recorder, names, silent)) is not None}
        reports.append(
            forecast_calls(
                model,
                {loaders[s]: stand_ins[s] for s in uses},
                {loaders[s]: use.recipes for s, use in uses.items() if use.recipes},
                name=name,
                modes={loaders[s]: use.mode for s, use in uses.items()},
                setup=Setup(1, replicas=_replicas(model)),
                device=_device(model),
                command="preflight",
            )
        )
        notes = {loaders[s]: _notes(use, counted=stand_ins[s] is not s.loader) for s, use in uses.items()}
        reports[-1] = _noted(reports[-1], notes, {loaders[s]: use.fix for s, use in uses.items() if use.fix})
    return _placed(joined(reports), recorder.world)


def _use(seen: SeenLoader, model: nn.Module, recorder: Recorder, names: Names, silent: bool) -> Use | None:
    """Say how the model uses a loader; None where the step showed that it does not."""
    training = [c for c in recorder.calls if c.model is model and c.mode == "train"]
    mine = [c for c in recorder.calls if c.model is model and c.loader is seen]
    if seen.trained:
        calls = [c for c in mine if c.mode == "train"]
        return Use(_recipes(calls), None) if calls else None
    if mine:  # an evaluation, before the first step or at its end
        return Use(_recipes(mine), None if mine[0].mode == "train" else "eval")
    likely = _recipes([c for c in training if c.loader is not None and c.loader.trained])
    name = names.of(seen.loader) or ""
    if not name and any(s.trained and s.loader.dataset is seen.loader.dataset for s in recorder.loaders):
        return None  # a trainer has made another loader of it, and trains on that one
    if stated_mode(name) == "train":
        return Use(likely, None, f"{name} was not used in the first step; it is taken for a training loader")
    if silent and stated_mode(name) == "eval":
        why = f"no line of the script calls eval(), so the model is still in training mode on {name}"
        return Use(likely, None, why, fix=(EVAL_MODE.for_case(),))
    return Use(likely, "eval")


def _recipes(calls: list[SeenCall]) -> tuple[Inputs, ...]:
    return tuple(c.recipe for c in calls if c.recipe is not None)


def _notes(use: Use, *, counted: bool) -> tuple[str, ...]:
    told = "the sizes of its batches were counted by a pass over its data, with its own workers and without the model"
    return ((told,) if counted else ()) + ((use.note,) if use.note else ())


def _noted(report: Report, notes: dict[str, tuple[str, ...]], fixes: dict[str, tuple[Advice, ...]]) -> Report:
    forecasts = tuple(replace(f, notes=(*f.notes, *notes[f.loader])) for f in report.forecasts)
    findings = tuple(replace(f, remedies=fixes.get(f.loader or "", f.remedies)) for f in report.findings)
    ways = tuple(way for way in report.suggestions if way.loader not in fixes)
    return replace(report, forecasts=forecasts, findings=findings, suggestions=ways)


def _placed(report: Report, world: World) -> Report:
    """Say whose batches these are, where each rank has made loaders of its own and so may have other ones."""
    if world.rank is None or world.size < 2:
        return report
    mine = (world.rank, world.rank)
    note = f"this is what rank {world.rank} of {world.size} sees: no DistributedSampler says what the others get"
    alone = {f.name for f in report.loaders if f.world_size == 1}
    loaders = tuple(
        replace(f, streams=tuple(replace(s, ranks=mine) for s in f.streams)) if f.name in alone else f
        for f in report.loaders
    )
    forecasts = tuple(
        replace(f, rank=world.rank, ranks=mine, notes=(*f.notes, note)) if f.stops and f.loader in alone else f
        for f in report.forecasts
    )
    return replace(report, loaders=loaders, forecasts=forecasts)


def _replicas(model: nn.Module) -> int:
    return max(1, len(model.device_ids)) if isinstance(model, nn.DataParallel) else 1


def _device(model: nn.Module) -> str:
    return "cuda" if any(p.is_cuda for p in model.parameters()) else "cpu"


# -------------------------------------------------------------------------------------------- names


def look_around(recorder: Recorder, names: Names) -> None:
    """Find out how the script calls its loaders and models, while its frames are there."""
    names.look([*(s.loader for s in recorder.loaders), *recorder.modes, *(c.model for c in recorder.calls)])


def loader_names(recorder: Recorder, names: Names) -> dict[SeenLoader, str]:
    """Name every loader: as the script does, else by the line that made it."""
    told = [names.of(s.loader) or (f"loader of {s.source}" if s.source else "loader") for s in recorder.loaders]
    return dict(zip(recorder.loaders, distinct(told), strict=True))


def model_names(recorder: Recorder, names: Names) -> dict[nn.Module, str]:
    """Name every model that was trained: as the script does, else by its class."""
    models = list(recorder.modes)
    return dict(zip(models, distinct(names.of(m) or type(m).__name__ for m in models), strict=True))


# ------------------------------------------------------------------------------------------ failures


def failure(recorder: Recorder, error: Exception, names: Names) -> Report | None:
    """Return the guard's diagnosis as a report, None where the error has nothing to do with normalisation."""
    diagnosis = diagnose(error)
    if diagnosis is None or diagnosis.code is None:
        return None
    call = recorder.calls[-1] if recorder.calls else None
    model = model_names(recorder, names).get(call.model, type(call.model).__name__) if call else None
    loader = loader_names(recorder, names)[call.loader] if call and call.loader else None
    at = f"step {call.loader.step} of {loader}" if call and call.loader else "the first training step"
    finding = of_failure(diagnosis, headline(diagnosis), model=model, loader=loader, at=at)
    forecasts = (_failed(diagnosis, error, call, model, loader),) if call and model and loader else ()
    return Report(
        "preflight",
        forecasts=forecasts,
        findings=(finding,),
        torch=torch.__version__,
        extra={"diagnosis": diagnosis.to_dict()},
    )


def _failed(d: Diagnosis, error: Exception, call: SeenCall, model: str, loader: str) -> ForecastFact:
    assert call.loader is not None
    size = call.loader.size or 0
    at = SizeFact(
        size,
        True,
        layer=d.layer,
        layer_type=d.layer_type,
        num_features=d.num_features,
        source=d.source,
        error=type(error).__name__,
        message=one_line(error),
        shape=d.shape,
        cause="one-value" if d.cause == "one-value-per-channel" else "refused",
    )
    return ForecastFact(
        model, loader, call.mode, True, step=call.loader.step, batch_size=size, rank=d.rank or 0, at=at, sizes=(at,)
    )
