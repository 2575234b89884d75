"""One forward, on shapes wherever shapes are enough, with every normalisation call recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import nn

from bnguard import _private_torch as private
from bnguard._errors import BnguardError
from bnguard._facts.models import Method, Mode
from bnguard._models.inputs import Inputs
from bnguard._models.layers import Layer, find_layers
from bnguard._trace.copies import copy_for_trace, meta_like, parameter_count
from bnguard._trace.rows import data_dependent
from bnguard._trace.run_forward import Look, PreparedModel, Trace, run_forward
from bnguard._trace.scripted import is_refused, with_refused
from bnguard._trace.state import model_kept

MOST_REAL_PARAMETERS = 500_000_000
"""A real forward of more parameters than this (2 GB in float32) is not worth the answer to one question."""

MOST_CONFIRMED_PARAMETERS = 30_000_000
"""An error on shapes is confirmed by a real forward up to this size."""

QUICK_PARAMETERS = 2_000_000
"""A real forward of a model below this size takes no time worth a word."""

MOST_COPIED_PARAMETERS = 100_000_000
"""Up to this size a real forward has parameters of its own, which the forward may change."""

DRAWS = 8
"""How often a forward that draws random numbers is followed."""

MOST_CAUGHT = 8
"""Errors of layers that a model may catch itself before it is given up."""

Progress = Callable[[str], None]
"""Told one line before something slow."""


class Tracer:
    """A model under scan, and the ways to run it without touching the one the user holds.

    Args:
        model: the user's live model, or one that was built without weights for this scan.
        owned: whether nobody else holds the model, so that no copy is needed.
        rebuild: builds the model again with its weights, for a real forward of a weightless one.
        mode: what is called on the root before a trace; None leaves every module's as it is.
        device: whose backend the calls predict.

    """

    def __init__(
        self,
        model: nn.Module,
        *,
        owned: bool,
        mode: Mode | None,
        device: str,
        rebuild: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.model = model
        self.mode: Mode | None = mode
        self._device = device
        self._owned = owned
        self._rebuild = rebuild
        self._exact: set[Method] = set()
        self._prepared_by_method: dict[Method, PreparedModel] = {}
        self._layers: list[Layer] | None = None

    def trace(self, inputs: Inputs, batch_size: int, method: Method) -> Trace:
        """Follow the forward by this method; an error of the model ends up in the trace, never here.

        One forward tells most. Another is run where the first one asked for gradients, where the model may itself
        catch the error of a layer, where it drew random numbers, and where the data chose rows.
        """
        try:
            prepared = self._prepared_for(method)
        except BnguardError as error:
            return Trace(method, PreparedModel.not_run(self.model), error=error)

        compiled = isinstance(prepared.model, private.script_module_type())
        if compiled and method != "real":
            return Trace(method, prepared, error=NotImplementedError("TorchScript runs on values alone"))

        def run(look: Look, size: int = batch_size) -> Trace:
            if self._owned:
                return run_forward(prepared, inputs, size, method, self._device, look)
            with model_kept(self.model) as kept:
                trace = run_forward(prepared, inputs, size, method, self._device, look)
            if kept.changed:  # put back; but what ran was not the copy alone
                trace.error = BnguardError("the forward reaches the live model, which a trace must leave as it is")
            return trace

        look = Look(exact=method in self._exact)
        trace = run(look)
        if method != "real" and not look.exact and _needs_gradients(trace):
            self._exact.add(method)
            look = replace(look, exact=True)
            trace = run(look)
        if compiled and is_refused(trace.error):
            trace.calls = with_refused(trace.calls, run(look, batch_size + 1).calls, batch_size)
            trace.error = None
            return trace
        trace, look = _without_caught_errors(trace, look, run)
        trace.draws = tuple(self._further_draws(trace, look, run))
        if trace.seen.chose_rows:
            others = [run(replace(look, rows="fewer")), run(replace(look, rows="double"))]
            trace.calls = data_dependent(trace, others)
        return trace

    def _further_draws(self, trace: Trace, look: Look, run: Callable[[Look], Trace]) -> Iterator[Trace]:
        """Yield the same forward with other random numbers, where these may decide what it does."""
        if trace.seen.drew and (trace.method != "real" or parameter_count(self.model) <= QUICK_PARAMETERS):
            for seed in range(1, DRAWS):
                yield _without_caught_errors(run(replace(look, seed=seed)), replace(look, seed=seed), run)[0]

    def set_mode(self, mode: Mode | None) -> None:
        """Go on in another mode, with the same copies; None is the flags that the modules had at first."""
        self.mode = mode
        for prepared in self._prepared_by_method.values():
            prepared.set_mode(mode)

    def best_trace(self, inputs: Inputs, batch_size: int, progress: Progress, *, real: bool = True) -> Trace:
        """Trace on the meta device, with FakeTensors where devices mix, really where values decide.

        ``progress`` is told before a forward that may take seconds. Without ``real`` nothing is computed unless the
        inputs need values.
        """
        trace: Trace | None = None
        methods: tuple[Method, ...] = ("real",) if inputs.needs_values else ("meta", "fake", "real")
        for method in methods:
            if method == "real" and trace is not None and not real:
                return trace
            if method == "fake" and (
                private.fake_tensor_types() is None or not (trace and trace.shapes_were_not_enough)
            ):
                continue
            if method == "real" and parameter_count(self.model) > QUICK_PARAMETERS:
                progress(f"{type(self.model).__name__}: shapes are not enough; running its forward on the CPU …")
            latest = self.trace(inputs, batch_size, method)
            if trace is not None and isinstance(latest.error, BnguardError):
                return trace  # a real forward is not to be had: the error of the shapes says more
            trace = latest
            if not trace.shapes_were_not_enough and (trace.error is None or not self._worth_confirming):
                return trace
        assert trace is not None
        return trace

    @property
    def _worth_confirming(self) -> bool:
        """Whether an error on shapes is looked at again with values: the CPU's words are what the user would see."""
        return parameter_count(self.model) < MOST_CONFIRMED_PARAMETERS

    @property
    def layers(self) -> list[Layer]:
        """The layers of the model itself, as found before any trace."""
        if self._layers is None:
            self._layers = self._prepared_for("meta").layers if self._owned else find_layers(self.model)
        return self._layers

    def _prepared_for(self, method: Method) -> PreparedModel:
        if method not in self._prepared_by_method:
            self._prepared_by_method[method] = PreparedModel.of(self._model_for(method), self.mode)
        return self._prepared_by_method[method]

    def _model_for(self, method: Method) -> nn.Module:
        if method == "real":
            return self._with_values()
        if self._owned and method == "meta":
            _buffers_to_meta(self.model)
            return self.model
        return copy_for_trace(self.model, "meta")

    def _with_values(self) -> nn.Module:
        weightless = any(p.is_meta for p in self.model.parameters())
        if not weightless:
            few = parameter_count(self.model) <= MOST_COPIED_PARAMETERS
            return copy_for_trace(self.model, "own" if few else "shared")
        count = parameter_count(self.model)
        if self._rebuild is None or count > MOST_REAL_PARAMETERS:
            raise BnguardError(f"a real forward would need {count:,} parameters in memory")
        return self._rebuild()


def _needs_gradients(trace: Trace) -> bool:
    """Whether the forward asked for gradients, or failed for want of them, where none were recorded."""
    words = ("does not require grad", "doesn't require grad", "grad_fn")
    failed = trace.error is not None and any(word in str(trace.error) for word in words)
    return trace.prepared.model.training and (trace.seen.gradients_asked or failed)


def _without_caught_errors(trace: Trace, look: Look, run: Callable[[Look], Trace]) -> tuple[Trace, Look]:
    """Return what happens where the model itself catches the error of a layer, and how that was looked at.

    A trace goes on past a layer that raises, to see those behind it. Here the error is really raised, at one call
    after the other, until one is not caught.
    """
    caught: frozenset[int] = look.raise_at
    while len(caught) < MOST_CAUGHT:
        first = next((i for i, r in enumerate(trace.calls) if r.call.stops), None)
        if first is None or _comes_out(run(replace(look, raise_at=caught | {first}))):
            break
        caught |= {first}
        look = replace(look, raise_at=caught)
        trace = run(look)
    if caught:
        trace.notes = ("the model itself catches the error of a layer that gets too few values, and goes on",)
    return trace, look


def _comes_out(trace: Trace) -> bool:
    """Whether the forward ended by the error that was raised in it, or by one that came of it."""
    error, raised = trace.error, trace.seen.raised
    while error is not None and error is not raised:
        error = error.__cause__ or error.__context__
    return raised is not None and error is raised


def _buffers_to_meta(model: nn.Module) -> None:
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if not buffer.is_meta:
                private.replace_tensor(module, name, meta_like(buffer))
