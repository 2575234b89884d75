"""Of several descriptions of a model's input the first that its forward takes."""

from __future__ import annotations

from collections.abc import Iterable

from bnguard.model.guess import guesses
from bnguard.model.inputs import Inputs, declared
from bnguard.model.opened import Opened
from bnguard.model.trace import Progress, Stage, Subject, Trace


def own_inputs(model: Opened, batch_size: int, progress: Progress) -> tuple[Inputs | None, Trace]:
    """Trace with what the model or its file declares, or with the first guess that runs; None where there is none."""
    subject = model.subject
    named = next(declared(subject.model, model.namespace), None)
    if named is not None:
        return named, subject.best_trace(named, batch_size, progress)
    found = first_that_runs(subject, guesses(subject.model), batch_size, progress)
    return found or (None, Trace("none", Stage.unready(subject.model)))


def first_that_runs(
    subject: Subject, candidates: Iterable[Inputs], batch_size: int, progress: Progress
) -> tuple[Inputs, Trace] | None:
    """Return the first inputs that lead through the forward, else the first tried; None where there are none.

    Shapes alone are tried first for all of them; of those that shapes were not enough for, the first few are then
    looked at with values.
    """
    first: tuple[Inputs, Trace] | None = None
    unsure: list[Inputs] = []
    for inputs in candidates:
        if inputs.needs_values:
            trace = subject.best_trace(inputs, batch_size, progress)
        else:
            trace = subject.trace(inputs, batch_size, "meta")
        if trace.error is None:
            return inputs, trace
        if trace.shapes_were_not_enough:
            unsure.append(inputs)
        first = first or (inputs, trace)
    for inputs in unsure[:3]:
        trace = subject.best_trace(inputs, batch_size, progress)
        if trace.error is None:
            return inputs, trace
    return first
