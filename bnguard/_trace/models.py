"""A model ready to be traced at any batch size: found or built once, copied once, its layers' lines looked up once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from bnguard import _private_torch as private
from bnguard import _targets as targets
from bnguard._errors import TargetError, UsageError
from bnguard._facts.models import LayerFact, Mode, SourceLine, StatisticsFact
from bnguard._models.discover import models_of
from bnguard._models.guess import guesses
from bnguard._models.inputs import Inputs, declared_inputs
from bnguard._models.layers import running_statistics
from bnguard._models.named import Built
from bnguard._models.origin import Origins, assignment_line
from bnguard._models.wrappers import unwrap
from bnguard._trace.layer_facts import layer_facts, of_all_draws, statistics_fact
from bnguard._trace.run_forward import PreparedModel, Trace
from bnguard._trace.trace import Progress, Tracer


@dataclass(frozen=True)
class TraceableModel:
    """One model under its target's name.

    Attributes:
        target: what the report calls it.
        subject: runs it, or a copy of it.
        namespace: of the user's file; empty for a live model.
        origins: which line created each layer, as recorded while it was built.
        statistics: what the running statistics of a live model hold, by layer.
        notes: what the reader should know of how it was built.

    """

    target: str
    tracer: Tracer
    namespace: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = field(default_factory=Origins)
    statistics: Mapping[str, StatisticsFact | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    _lines: dict[str, SourceLine | None] = field(default_factory=dict, repr=False)

    def layers(self, trace: Trace) -> tuple[LayerFact, ...]:
        """Return what this trace says of each layer."""
        if not self._lines:
            model = self.tracer.model
            for layer in self.tracer.layers:
                self._lines[layer.name] = self.origins.find(layer.module) or assignment_line(model, layer.name)
        if trace.layer_facts is None:
            each = [layer_facts(t, self._lines, self.statistics) for t in (trace, *trace.draws)]
            trace.layer_facts = of_all_draws(each[0], each[1:])
        return trace.layer_facts

    def refusing(self, trace: Trace) -> str | None:
        """Return the name of the normalisation layer within which the trace's error was raised, if it was in one."""
        return None if trace.failed_in is None else trace.prepared.names[id(trace.failed_in)]


def check_device(device: str) -> None:
    """Raise UsageError for a device whose backends nobody knows."""
    if device not in ("cuda", "cpu"):
        raise UsageError(f"device {device!r} is not known", hint="one of cuda, cpu")


@contextmanager
def open_models(
    model: nn.Module | str | Path,
    *,
    mode: Mode | None,
    device: str,
    settings: Mapping[str, Any] | None = None,
    stubs: Sequence[str] = (),
    argv: Sequence[str] = (),
) -> Iterator[Iterable[TraceableModel]]:
    """Open a live model, or every model that a target names; the user's import paths stay within the block.

    Args:
        model: an ``nn.Module``, which is left as it is, or a target.
        mode: what is called on the root before a trace; None leaves every module's flag as it is.
        device: whose batch_norm backend to predict.
        settings: constructor arguments for a target.
        stubs: packages to replace by stand-ins.
        argv: ``sys.argv[1:]`` of the target's file.

    Raises:
        BnguardError: the target cannot be found or built, or is neither.

    """
    if isinstance(model, nn.Module):
        yield (open_live_model(model, mode, device),)
    elif isinstance(model, (str, Path)):
        with models_of(targets.parse(str(model)), settings=settings, argv=argv, stubs=stubs) as built:
            yield (_open_built_model(one, mode, device) for one in built)
    else:
        raise TargetError(
            f"a {type(model).__name__} is neither a model nor a target",
            hint="give an nn.Module or text such as model.py:Net",
        )


def open_live_model(model: nn.Module, mode: Mode | None, device: str) -> TraceableModel:
    """Open a model that the caller holds."""
    inner = unwrap(model)
    tracer = Tracer(inner, owned=False, mode=mode, device=device)
    statistics = {x.name: _statistics(x.module) for x in tracer.layers}
    return TraceableModel(type(inner).__name__, tracer, statistics=statistics)


def _open_built_model(built: Built, mode: Mode | None, device: str) -> TraceableModel:
    inner = unwrap(built.model)
    tracer = Tracer(inner, owned=True, mode=mode, device=device, rebuild=lambda: unwrap(built.rebuild()))
    origins = built.construction.origins
    return TraceableModel(built.target, tracer, built.namespace, origins, notes=tuple(_notes(built)))


def _statistics(module: nn.Module) -> StatisticsFact | None:
    pair = running_statistics(module)
    return None if pair is None else statistics_fact(*pair, private.own_tensor(module, "num_batches_tracked"))


def _notes(built: Built) -> Iterator[str]:
    yield from built.notes
    if built.construction.skipped:
        yield "pretrained weights were asked for and not downloaded: shapes need none"


# ------------------------------------------------ of several descriptions of the input the first that the forward takes


def own_inputs(model: TraceableModel, batch_size: int, progress: Progress) -> tuple[Inputs | None, Trace]:
    """Trace with what the model or its file declares, or with the first guess that runs; None where there is none."""
    tracer = model.tracer
    named = next(declared_inputs(tracer.model, model.namespace), None)
    if named is not None:
        return named, tracer.best_trace(named, batch_size, progress)
    found = first_that_runs(tracer, guesses(tracer.model), batch_size, progress)
    return found or (None, Trace("none", PreparedModel.not_run(tracer.model)))


def first_that_runs(
    tracer: Tracer, candidates: Iterable[Inputs], batch_size: int, progress: Progress
) -> tuple[Inputs, Trace] | None:
    """Return the first inputs that lead through the forward, else the first tried; None where there are none.

    Shapes alone are tried first for all of them; of those that shapes were not enough for, the first few are then
    looked at with values.
    """
    first: tuple[Inputs, Trace] | None = None
    unsure: list[Inputs] = []
    for inputs in candidates:
        if inputs.needs_values:
            trace = tracer.best_trace(inputs, batch_size, progress)
        else:
            trace = tracer.trace(inputs, batch_size, "meta")
        if trace.error is None:
            return inputs, trace
        if trace.shapes_were_not_enough:
            unsure.append(inputs)
        first = first or (inputs, trace)
    for inputs in unsure[:3]:
        trace = tracer.best_trace(inputs, batch_size, progress)
        if trace.error is None:
            return inputs, trace
    return first
