"""``bnguard.scan``: which normalisation layers fail at a batch size, and which of them first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnguard import target as targets
from bnguard.errors import TargetError, UsageError
from bnguard.facts import LayerFact, Mode, ModelFact, StatisticsFact
from bnguard.findings import Report
from bnguard.model import checkpoint, private
from bnguard.model.assemble import first_failure, layer_facts, smallest_batches
from bnguard.model.assigned import assignment_line
from bnguard.model.guess import as_wanted, guesses
from bnguard.model.inputs import Inputs, declared, given
from bnguard.model.layers import find_layers, running_statistics
from bnguard.model.origin import Origins
from bnguard.model.resolve import Built, models_of
from bnguard.model.statistics import statistics_fact
from bnguard.model.trace import Subject, Trace
from bnguard.model.twin import untouched_process, unwrap
from bnguard.rules import CATALOGUE

MOST_BATCHES_TRIED = 4
"""``min_batch_size`` is looked for up to this batch size."""

LARGER_INPUTS = (2, 4)
"""Factors by which an input is enlarged to see whether a failing layer then holds."""

Progress = Callable[[str], None]


def scan(  # noqa: PLR0913 - one argument for each option of the command line
    model: nn.Module | str | Path | Sequence[nn.Module | str | Path],
    inputs: Any = None,  # noqa: ANN401 - see bnguard.model.inputs.given
    *,
    batch_size: int = 1,
    mode: Mode | str = "train",
    device: str = "cuda",
    settings: Mapping[str, Any] | None = None,
    stubs: Sequence[str] = (),
    argv: Sequence[str] = (),
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
    if device not in ("cuda", "cpu"):
        raise UsageError(f"device {device!r} is not known", hint="one of cuda, cpu")
    wanted: Mode = "train" if mode == "train" else "eval"
    recipe = None if inputs is None else inputs if _is_recipe(inputs) else given(inputs)
    plan = _Plan(recipe, batch_size, wanted, device, progress or (lambda _: None))
    several = list(model) if isinstance(model, (list, tuple)) else [model]
    if not several:
        raise UsageError("there is nothing to scan", hint="give a model or a target")
    facts: list[ModelFact] = []
    with untouched_process():
        for one in several:
            if isinstance(one, nn.Module):
                facts.append(plan.live(one))
            elif isinstance(one, (str, Path)):
                facts += _scan_target(str(one), plan, settings, stubs, argv)
            else:
                raise TargetError(
                    f"a {type(one).__name__} is neither a model nor a target",
                    hint="give an nn.Module or text such as model.py:Net",
                )
    return Report("scan", models=tuple(facts), findings=CATALOGUE.judge(models=facts), torch=torch.__version__)


def _scan_target(
    text: str, plan: _Plan, settings: Mapping[str, Any] | None, stubs: Sequence[str], argv: Sequence[str]
) -> Iterator[ModelFact]:
    if checkpoint.is_checkpoint(text):
        yield checkpoint.scan_checkpoint(text, plan.batch_size, plan.mode)
        return
    target = targets.parse(text)
    with models_of(target, settings=settings, argv=argv, stubs=stubs) as built:
        for one in built:
            yield plan.built(one)


def _is_recipe(inputs: object) -> bool:
    return hasattr(inputs, "make") and hasattr(inputs, "facts")


class _Plan:
    """The settings of one scan, applied to each of its models."""

    def __init__(self, inputs: Inputs | None, batch_size: int, mode: Mode, device: str, progress: Progress) -> None:
        self._inputs = inputs
        self.batch_size = batch_size
        self.mode: Mode = mode
        self._device = device
        self._progress = progress

    def live(self, model: nn.Module) -> ModelFact:
        """Scan a model that the caller holds."""
        inner, prefix = unwrap(model)
        subject = Subject(inner, owned=False, mode=self.mode, device=self._device)
        statistics = {x.name: _statistics(x.module) for x in find_layers(inner)}
        return self._fact(type(inner).__name__, subject, {}, Origins(), statistics, prefix, ())

    def built(self, built: Built) -> ModelFact:
        """Scan a model that was built for this scan."""
        inner, prefix = unwrap(built.model)
        subject = Subject(
            inner, owned=True, mode=self.mode, device=self._device, rebuild=lambda: unwrap(built.rebuild())[0]
        )
        return self._fact(built.target, subject, built.namespace, built.construction.origins, {}, prefix, _notes(built))

    def _fact(
        self,
        target: str,
        subject: Subject,
        namespace: dict[str, Any],
        origins: Origins,
        statistics: dict[str, StatisticsFact | None],
        prefix: str,
        notes: tuple[str, ...],
    ) -> ModelFact:
        sources = {x.name: origins.find(x.module) or assignment_line(subject.model, x.name) for x in subject.layers}
        inputs, trace = self._traced(subject, namespace)
        facts = layer_facts(trace, prefix, sources, statistics)
        if inputs is not None and trace.method != "none":
            facts = self._with_smallest(subject, inputs, trace, facts, prefix)
            facts = self._with_larger_input(subject, inputs, trace, facts, prefix)
            facts = self._with_lost_dimension(subject, inputs, trace, facts, prefix)
        shown = _describe(inputs, self.batch_size)
        return ModelFact(
            target=target,
            cls=type(subject.model).__name__,
            batch_size=self.batch_size,
            mode=self.mode,
            device=self._device,
            inputs=shown,
            method=trace.method if trace.error is None or trace.calls else "none",
            layers=facts,
            trace_error=trace.error_line,
            trace_traceback=trace.error_traceback,
            first_failure=first_failure(facts),
            notes=notes,
        )

    def _traced(self, subject: Subject, namespace: dict[str, Any]) -> tuple[Inputs | None, Trace]:
        """Trace with what the user gave, or what the model declares, or the first guess that runs."""
        if self._inputs is not None:
            given = as_wanted(subject.model, self._inputs)
            return given, self._best(subject, given)
        named = next(declared(subject.model, namespace), None)
        if named is not None:
            return named, self._best(subject, named)
        first: tuple[Inputs, Trace] | None = None
        unsure: list[Inputs] = []
        for guess in guesses(subject.model):
            if guess.needs_values:
                return guess, self._best(subject, guess)
            trace = subject.trace(guess, self.batch_size, "meta")
            if trace.error is None:
                return guess, trace
            if trace.shapes_were_not_enough:
                unsure.append(guess)
            first = first or (guess, trace)
        for guess in unsure[:3]:
            trace = self._best(subject, guess)
            if trace.error is None:
                return guess, trace
        return first or (None, _untraced(subject))

    def _best(self, subject: Subject, inputs: Inputs) -> Trace:
        return subject.best_trace(inputs, self.batch_size, self._progress)

    def _with_smallest(
        self, subject: Subject, inputs: Inputs, trace: Trace, facts: tuple[LayerFact, ...], prefix: str
    ) -> tuple[LayerFact, ...]:
        """Trace at 1, 2, 3 … until no layer fails, and note from which size on each layer holds."""
        tried: dict[int, Sequence[LayerFact]] = {self.batch_size: facts}
        for size in range(1, MOST_BATCHES_TRIED + 1):
            if size not in tried:
                again = subject.trace(inputs, size, trace.method)
                tried[size] = layer_facts(again, prefix, {}, {})
            if not any(f.verdict == "fails" for f in tried[size]):
                break
        return smallest_batches(facts, tried)

    def _with_lost_dimension(
        self, subject: Subject, inputs: Inputs, trace: Trace, facts: tuple[LayerFact, ...], prefix: str
    ) -> tuple[LayerFact, ...]:
        """Where a layer itself refuses its input, find out whether one sample more is enough: ``squeeze()`` is why."""
        name = prefix + trace.stage.names.get(id(trace.failed_in), "") if trace.failed_in is not None else None
        if name is None or subject.trace(inputs, self.batch_size + 1, trace.method).error is not None:
            return facts
        lost = {"verdict": "fails", "reason": trace.error_line, "order": len(trace.calls)}
        smallest = self.batch_size + 1 if self.batch_size == 1 else None
        return tuple(
            replace(f, min_batch_size=smallest, **lost) if f.name == name and not f.calls else f  # type: ignore[arg-type]
            for f in facts
        )

    def _with_larger_input(
        self, subject: Subject, inputs: Inputs, trace: Trace, facts: tuple[LayerFact, ...], prefix: str
    ) -> tuple[LayerFact, ...]:
        """Where a layer fails on a small map, find out whether a larger input gives it more than one pixel."""
        enlarge = getattr(inputs, "enlarged", None)
        failing = {f.name for f in facts if f.verdict == "fails"}
        if enlarge is None or trace.method != "meta" or not failing:
            return facts
        holds: dict[str, tuple[int, ...]] = {}
        for factor in LARGER_INPUTS:
            larger = enlarge(factor)
            again = subject.trace(larger, self.batch_size, "meta") if larger is not None else None
            if larger is None or again is None or again.error is not None:
                break
            shape = larger.facts(self.batch_size)[0].shape
            for fact in layer_facts(again, prefix, {}, {}):
                if fact.name in failing and fact.verdict not in ("fails", "unknown", "not-reached"):
                    holds.setdefault(fact.name, shape)
            if failing == holds.keys():
                break
        return tuple(replace(f, larger_input=holds.get(f.name)) for f in facts)


def _untraced(subject: Subject) -> Trace:
    from bnguard.model.trace import Stage

    return Trace("none", Stage.of(subject.model, subject.mode))


def _describe(inputs: Inputs | None, batch_size: int) -> tuple[Any, ...]:
    if inputs is None:
        return ()
    try:
        return inputs.facts(batch_size)
    except Exception:  # noqa: BLE001 - the user's bnguard_inputs raised; the trace already says so
        return ()


def _statistics(module: nn.Module) -> StatisticsFact | None:
    pair = running_statistics(module)
    return None if pair is None else statistics_fact(*pair, private.own_tensor(module, "num_batches_tracked"))


def _notes(built: Built) -> tuple[str, ...]:
    notes = list(built.notes)
    if built.construction.skipped:
        notes.append("pretrained weights were asked for and not downloaded: shapes need none")
    return tuple(notes)
