"""What one forward does at one batch size: traced once for each size, whatever number of batches have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bnguard._facts.forecasts import Cause, SizeFact
from bnguard._facts.models import LayerFact, Method, NormCall
from bnguard._models.inputs import Inputs
from bnguard._models.layers import norms
from bnguard._trace.models import TraceableModel
from bnguard._trace.run_forward import PreparedModel, Trace
from bnguard._trace.trace import Progress

MOST_REAL_SAMPLES = 128
"""A forward whose values decide is run with at most this many samples: more would cost as much as training does."""


@dataclass
class Outcomes:
    """One model with the calls that a step makes of it, at any batch size.

    Args:
        model: in the mode it is to be traced in, as long as sizes are asked for.
        calls: the arguments of each call of a step, in their order.
        world_size: ranks; from two on SyncBatchNorm counts the samples of all of them in training mode.
        progress: told before something slow.

    """

    model: TraceableModel
    calls: Sequence[Inputs]
    world_size: int
    progress: Progress
    _known: dict[int, SizeFact] = field(default_factory=dict, init=False)
    _traces: dict[tuple[int, int], Trace] = field(default_factory=dict, init=False)

    def at(self, batch_size: int) -> SizeFact:
        """Return what the first call to stop does, else what all of them do together."""
        if batch_size not in self._known:
            self._known[batch_size] = self._together(batch_size)
        return self._known[batch_size]

    def deciding(self, batch_size: int) -> tuple[Inputs, Trace]:
        """Return the call that does not get through at this size, traced, or else the first of a step."""
        last = len(self.calls) - 1
        index = next((i for i in range(last) if self._judged(i, batch_size).stops is not False), last)
        index = index if self.at(batch_size).stops is not False else 0
        return self.calls[index], self._trace(index, batch_size)

    def again(self, inputs: Inputs, batch_size: int, method: Method) -> Trace:
        """Trace one of the calls at a further size, by the method that its first trace took; known ones are not."""
        key = (next(i for i, call in enumerate(self.calls) if call is inputs), batch_size)
        known = self._traces.get(key)
        if known is not None and known.method == method:
            return known
        trace = self.model.tracer.trace(inputs, batch_size, method)
        if method == "meta" and trace.error is None:  # no other method would be asked
            self._traces[key] = trace
        return trace

    def _together(self, batch_size: int) -> SizeFact:
        single = 0
        for index in range(len(self.calls)):
            fact = self._judged(index, batch_size)
            if fact.stops is not False:
                return fact
            single = max(single, fact.single)
        return SizeFact(batch_size, stops=False, single=single)

    def _trace(self, index: int, batch_size: int) -> Trace:
        key = (index, batch_size)
        if key not in self._traces:
            inputs, few = self.calls[index], batch_size <= MOST_REAL_SAMPLES
            tracer = self.model.tracer
            self._traces[key] = (
                tracer.best_trace(inputs, batch_size, self.progress, real=few)
                if few or not inputs.needs_values
                else Trace("none", PreparedModel.not_run(tracer.model))
            )
        return self._traces[key]

    def _judged(self, index: int, batch_size: int) -> SizeFact:
        inputs, trace = self.calls[index], self._trace(index, batch_size)
        if trace.method == "none":
            return SizeFact(batch_size, stops=None, unknown=_too_many(batch_size))
        layers = self.model.layers(trace)
        first = next(self._raising(layers, trace), None)
        if first is not None:
            return _stopped(first, tuple(x.layer.name for x in self._raising(layers, trace)), batch_size)
        if trace.error is not None:
            return self._ended(inputs, trace, layers, batch_size)
        blind = next((x for x in layers if x.verdict in ("unknown", "data-dependent")), None)
        if blind is not None:
            return SizeFact(batch_size, stops=None, unknown=f"{blind.label}: {blind.reason}")
        return SizeFact(batch_size, stops=False, single=sum(x.verdict == "single-sample" for x in layers))

    def _raising(self, layers: Sequence[LayerFact], trace: Trace) -> Iterator[_Raising]:
        """Yield the layers that raise, in execution order, each with its first call that does."""
        synced = self._synchronised(trace)
        for layer in sorted((x for x in layers if x.verdict == "fails"), key=lambda x: x.order or 0):
            calls = (c for c in layer.calls if c.rejected or (c.raises and layer.name not in synced))
            call = next(calls, None)
            if call is not None:
                yield _Raising(layer, call)

    def _synchronised(self, trace: Trace) -> set[str]:
        """Return the layers that count the samples of all ranks, and so never see one value where there are two."""
        if self.world_size < 2:
            return set()
        counts = norms().counts_all_ranks
        return {x.name for x in trace.prepared.layers if counts(x.module) and x.module.training}

    def _ended(self, inputs: Inputs, trace: Trace, layers: Sequence[LayerFact], batch_size: int) -> SizeFact:
        """Judge a forward that raised by itself: within a normalisation layer, or elsewhere."""
        name = self.model.refusing(trace)
        if trace.shapes_were_not_enough:
            why = f"shapes are not enough to follow the forward: {trace.error_line}"
            if batch_size > MOST_REAL_SAMPLES:
                why = _too_many(batch_size)
            return SizeFact(batch_size, stops=None, unknown=why)
        if name is None:
            why = f"the forward raises {trace.error_line}, not in a normalisation layer"
            return SizeFact(batch_size, stops=None, unknown=why)
        more = self.model.tracer.trace(inputs, batch_size + 1, trace.method)
        cause: Cause = "lost-dimension" if more.error is None else "refused"
        layer = next(x for x in layers if x.name == name)
        return SizeFact(
            batch_size,
            stops=True,
            layer=name,
            layer_type=layer.type,
            num_features=layer.num_features,
            source=layer.source,
            error=type(trace.error).__name__,
            message=trace.error_line,
            cause=cause,
            failing=(name,),
        )


class _Raising(NamedTuple):
    """A layer, and its first call that raises."""

    layer: LayerFact
    call: NormCall


def _stopped(first: _Raising, failing: tuple[str, ...], batch_size: int) -> SizeFact:
    layer, call = first
    one = call.raises and call.values_per_statistic == 1
    return SizeFact(
        batch_size,
        stops=True,
        layer=layer.name,
        layer_type=layer.type,
        num_features=layer.num_features,
        source=layer.source,
        error=call.error,
        message=f"{call.error}: {call.rejected}" if call.rejected else None,
        shape=call.shape,
        per=layer.norm.per,
        cause="one-value" if one else "refused",
        failing=failing,
    )


def _too_many(batch_size: int) -> str:
    return f"values decide this forward, and {batch_size:,} samples are too many to run it with"
