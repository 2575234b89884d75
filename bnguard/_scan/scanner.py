"""``bnguard.scan``: which normalisation layers fail at a batch size, and which of them first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnguard._errors import UsageError
from bnguard._facts.findings import Report
from bnguard._facts.models import LayerFact, Method, Mode, ModelFact
from bnguard._models.guess import as_wanted
from bnguard._models.inputs import Inputs, as_recipe
from bnguard._rules import CATALOGUE
from bnguard._scan import checkpoint
from bnguard._stand_ins import cuda_standing_in, telling
from bnguard._trace.layer_facts import first_failure, smallest_batches
from bnguard._trace.models import TraceableModel, check_device, open_models, own_inputs
from bnguard._trace.run_forward import Trace
from bnguard._trace.trace import Progress
from bnguard._untouched import untouched_process

MOST_BATCHES_TRIED = 4
"""``min_batch_size`` is looked for up to this batch size."""

LARGER_INPUTS = (2, 4)
"""Factors by which an input is enlarged to see whether a failing layer then holds."""


def scan(  # noqa: PLR0913 - one argument for each option of the command line
    model: nn.Module | str | Path | Sequence[nn.Module | str | Path],
    inputs: Any = None,  # noqa: ANN401 - see bnguard._models.inputs.given
    *,
    batch_size: int = 1,
    mode: Mode | str = "train",
    device: str = "cuda",
    settings: Mapping[str, Any] | None = None,
    stubs: Sequence[str] = (),
    argv: Sequence[str] = (),
    cuda_stand_in: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Find every normalisation layer and say which fails first at a batch size, without running the model.

    A live model is left exactly as it is: a structural copy without weights is traced.

    Args:
        model: an ``nn.Module``; or a target such as ``"model.py:Net"``, ``"torchvision.models:resnet18"`` or a
            checkpoint; or several of these.
        inputs: shape without the batch dimension, ``(3, 224, 224)``, or several; tensors; a callable that
            takes a batch size; None to take what the model declares, or to guess.
        batch_size: N of the traced forward.
        mode: ``train`` or ``eval``: what is called on the root before.
        device: whose batch_norm backend to predict: ``cuda`` or ``cpu``. No such device is needed.
        settings: constructor arguments for a target.
        stubs: packages to replace by stand-ins while the target's file is imported.
        argv: ``sys.argv[1:]`` of the target's file.
        cuda_stand_in: let the CPU stand in for CUDA, where there is no device that can be used.
        progress: called with a line before something slow.

    Returns:
        The report; ``report.models[0].first_failure`` is the answer.

    Raises:
        BnguardError: the target cannot be found or built, or the inputs cannot be read.

    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(
            f"batch size {batch_size!r} is not positive, or no whole number", hint="1 is the size that breaks BatchNorm"
        )
    if mode not in ("train", "eval"):
        raise UsageError(f"mode {mode!r} is not known", hint="one of train, eval")
    check_device(device)
    wanted: Mode = "train" if mode == "train" else "eval"
    plan = _Plan(as_recipe(inputs), batch_size, wanted, device, progress or (lambda _: None))
    several: list[Any] = list(model) if isinstance(model, (list, tuple)) else [model]
    if not several:
        raise UsageError("there is nothing to scan", hint="give a model or a target")
    facts: list[ModelFact] = []
    with untouched_process(), cuda_standing_in(cuda_stand_in) as stood_in:
        for one in several:
            if isinstance(one, (str, Path)) and checkpoint.is_checkpoint(str(one)):
                facts.append(checkpoint.scan_checkpoint(str(one), batch_size, wanted))
                continue
            with open_models(one, mode=wanted, device=device, settings=settings, stubs=stubs, argv=argv) as models:
                facts += map(plan.scan, models)
    report = Report("scan", models=tuple(facts), findings=CATALOGUE.judge(models=facts), torch=torch.__version__)
    return telling(report, stood_in)


Again = Callable[[Inputs, int, Method], Trace]


class _Plan:
    """The settings of one scan, applied to each of its models."""

    def __init__(self, inputs: Inputs | None, batch_size: int, mode: Mode, device: str, progress: Progress) -> None:
        self._inputs = inputs
        self._batch_size = batch_size
        self._mode: Mode = mode
        self._device = device
        self._progress = progress

    def scan(self, model: TraceableModel) -> ModelFact:
        """Scan one model."""
        tracer = model.tracer
        if self._inputs is None:
            inputs, trace = own_inputs(model, self._batch_size, self._progress)
        else:
            inputs = as_wanted(tracer.model, self._inputs)
            trace = tracer.best_trace(inputs, self._batch_size, self._progress)
        return model_fact(model, inputs, trace, self._batch_size, self._mode, self._device)


def model_fact(
    model: TraceableModel,
    inputs: Inputs | None,
    trace: Trace,
    batch_size: int,
    mode: Mode,
    device: str,
    again: Again | None = None,
) -> ModelFact:
    """Return what a trace at a batch size says of a model, and what further traces say of its layers that fail.

    Args:
        model: the model.
        inputs: what was given to its forward, None where nothing was.
        trace: of that.
        batch_size: of that trace.
        mode: what was called on the root before.
        device: whose batch_norm backend the calls predict.
        again: traces the same inputs at another batch size, or knows that trace already; None traces anew.

    """
    facts = model.layers(trace)
    if inputs is not None and trace.method != "none":
        look = _Look(model, inputs, trace, batch_size, again or model.tracer.trace)
        facts = look.with_lost_dimension(look.with_larger_input(look.with_smallest(facts)))
    return ModelFact(
        target=model.target,
        cls=type(model.tracer.model).__name__,
        batch_size=batch_size,
        mode=mode,
        device=device,
        inputs=_describe(inputs, batch_size),
        method=trace.method if trace.error is None or trace.calls else "none",
        layers=facts,
        trace_error=trace.error_line,
        trace_traceback=trace.error_traceback,
        first_failure=first_failure(facts),
        notes=(*model.notes, *trace.notes),
    )


@dataclass(frozen=True)
class _Look:
    """A second look at the layers of one trace: at other batch sizes and at larger inputs."""

    model: TraceableModel
    inputs: Inputs
    trace: Trace
    batch_size: int
    again: Again

    def _again(self, batch_size: int) -> Trace:
        return self.again(self.inputs, batch_size, self.trace.method)

    def with_smallest(self, facts: tuple[LayerFact, ...]) -> tuple[LayerFact, ...]:
        """Trace at 1, 2, 3 … until no layer fails, and note from which size on each layer holds."""
        tried: dict[int, Sequence[LayerFact]] = {self.batch_size: facts}
        for size in range(1, MOST_BATCHES_TRIED + 1):
            if size not in tried:
                tried[size] = self.model.layers(self._again(size))
            if not any(f.verdict == "fails" for f in tried[size]):
                break
        return smallest_batches(facts, tried)

    def with_larger_input(self, facts: tuple[LayerFact, ...]) -> tuple[LayerFact, ...]:
        """Where a layer fails on a small map, find out whether a larger input gives it more than one pixel."""
        enlarge = getattr(self.inputs, "enlarged", None)
        failing = {f.name for f in facts if f.verdict == "fails"}
        if enlarge is None or self.trace.method != "meta" or not failing:
            return facts
        holds: dict[str, tuple[int, ...]] = {}
        for factor in LARGER_INPUTS:
            larger = enlarge(factor)
            again = self.model.tracer.trace(larger, self.batch_size, "meta") if larger is not None else None
            if larger is None or again is None or again.error is not None:
                break
            shape = larger.facts(self.batch_size)[0].shape
            for fact in self.model.layers(again):
                if fact.name in failing and fact.verdict not in ("fails", "unknown", "not-reached"):
                    holds.setdefault(fact.name, shape)
            if failing == holds.keys():
                break
        return tuple(replace(f, larger_input=holds.get(f.name)) for f in facts)

    def with_lost_dimension(self, facts: tuple[LayerFact, ...]) -> tuple[LayerFact, ...]:
        """Where a layer itself refuses its input, find out whether one sample more is enough: ``squeeze()`` is why."""
        name = self.model.refusing(self.trace)
        if name is None or self._again(self.batch_size + 1).error is not None:
            return facts
        lost = {"verdict": "fails", "reason": self.trace.error_line, "order": len(self.trace.calls)}
        smallest = self.batch_size + 1 if self.batch_size == 1 else None
        return tuple(
            replace(f, min_batch_size=smallest, **lost) if f.name == name and not f.calls else f  # type: ignore[arg-type]
            for f in facts
        )


def _describe(inputs: Inputs | None, batch_size: int) -> tuple[Any, ...]:
    if inputs is None:
        return ()
    try:
        return inputs.facts(batch_size)
    except Exception:  # noqa: BLE001 - the user's bnguard_inputs raised; the trace already says so
        return ()
