"""One forward, on shapes wherever shapes are enough, with every normalisation call recorded."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._errors import BnguardError
from bnguard._facts.models import LayerFact, Method, Mode
from bnguard._models.inputs import Arguments, Inputs, map_tensors
from bnguard._models.layers import Layer, find_layers, layers_among, layers_by_tensor, names_by_module
from bnguard._trace.copies import copy_for_trace, meta_like, parameter_count, without_ranks
from bnguard._trace.record import NormRecorder, RecordedCall
from bnguard._untouched import paused_gc, quiet, replaced
from bnguard._usercode import one_line, user_traceback

MOST_REAL_PARAMETERS = 500_000_000
"""A real forward of more parameters than this (2 GB in float32) is not worth the answer to one question."""

MOST_CONFIRMED_PARAMETERS = 30_000_000
"""An error on shapes is confirmed by a real forward up to this size."""

QUICK_PARAMETERS = 2_000_000
"""A real forward of a model below this size takes no time worth a word."""

Progress = Callable[[str], None]
"""Told one line before something slow."""


@dataclass
class PreparedModel:
    """A model ready to run by one method, with its layers found.

    ``layers`` are those of this very instance: the calls name them by identity.
    """

    model: nn.Module
    layers: list[Layer]
    names: dict[int, str]
    flags: list[tuple[nn.Module, bool]]

    @classmethod
    def of(cls, model: nn.Module, mode: Mode | None) -> PreparedModel:
        """Find the layers, then set the mode."""
        modules = names_by_module(model)
        without_ranks(modules)
        names = {id(m): names[0] for m, names in modules.items()}
        prepared = cls(model, layers_among(modules), names, [(m, m.training) for m in modules])
        prepared.set_mode(mode)
        return prepared

    @classmethod
    def not_run(cls, model: nn.Module) -> PreparedModel:
        """Return the layers of a model that is not to be run, and so stays in the mode it has."""
        return cls(model, find_layers(model), {}, [])

    def set_mode(self, mode: Mode | None) -> None:
        """Call ``train()`` or ``eval()`` on the root as a script would; None gives every module its first flag back."""
        if mode is not None:
            self.model.train(mode == "train")
        else:
            for module, training in self.flags:
                module.training = training


@dataclass
class Trace:
    """What one forward showed: the calls in order, and the error that ended it."""

    method: Method
    prepared: PreparedModel
    calls: list[RecordedCall] = field(default_factory=list)
    error: BaseException | None = None
    failed_in: nn.Module | None = None
    """The normalisation layer within whose forward the error was raised, None if it was raised elsewhere."""
    layer_facts: tuple[LayerFact, ...] | None = None
    """What it says of each layer, once that was asked: in the mode of the trace, whatever mode is set afterwards."""

    @property
    def error_line(self) -> str | None:
        """The error in one line, or None."""
        return None if self.error is None else one_line(self.error)

    @property
    def error_traceback(self) -> str | None:
        """The user's frames of the error, or None."""
        return None if self.error is None else user_traceback(self.error)

    @property
    def shapes_were_not_enough(self) -> bool:
        """Whether the error comes from missing values or mixed devices rather than from the model."""
        if self.error is None or self.method == "real":
            return False
        kinds = (
            "DataDependent",
            "DynamicOutput",
            "UnsupportedFakeTensor",
            "UnsupportedOperator",
            "GuardOnData",
        )
        if isinstance(self.error, NotImplementedError) or type(self.error).__name__.startswith(kinds):
            return True
        text = str(self.error).lower()
        return any(
            word in text
            for word in (
                "meta",
                "fake",
                "device",
                "item()",
                "data-dependent",
                "data dependent",
                "numpy",
                "data pointer",
                "storage",
            )
        )


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
        self._prepared_by_method: dict[Method, PreparedModel] = {}
        self._layers: list[Layer] | None = None

    def trace(self, inputs: Inputs, batch_size: int, method: Method) -> Trace:
        """Run one forward by this method; an error of the model ends up in the trace, never here."""
        try:
            prepared = self._prepared_for(method)
        except BnguardError as error:
            return Trace(method, PreparedModel.not_run(self.model), error=error)
        trace = Trace(method, prepared)
        recorder = NormRecorder(
            layers_by_tensor(prepared.layers), prepared.names, self._device, compute=method == "real"
        )
        with ExitStack() as stack:
            stack.enter_context(quiet())
            stack.enter_context(paused_gc())
            stack.enter_context(torch.no_grad())
            for handle in _watch_own_code(prepared.layers, recorder):
                stack.callback(handle.remove)
            try:
                args, kwargs = _arguments(inputs, batch_size, method, prepared.model)
                with recorder if method != "fake" else _faked(prepared.model, recorder):
                    if method == "fake":
                        args, kwargs = _as_fake(args), _as_fake(kwargs)
                    prepared.model(*args, **kwargs)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's forward may raise anything: it is told
                trace.error, trace.failed_in = error, _layer_of(error, prepared)
        trace.calls = recorder.calls
        return trace

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
            return copy_for_trace(self.model, "shared")
        count = parameter_count(self.model)
        if self._rebuild is None or count > MOST_REAL_PARAMETERS:
            raise BnguardError(f"a real forward would need {count:,} parameters in memory")
        return self._rebuild()


def _layer_of(error: BaseException, prepared: PreparedModel) -> nn.Module | None:
    layers = {id(x.module): x.module for x in prepared.layers}
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        found = layers.get(id(owner), found)
    return found


def _arguments(inputs: Inputs, batch_size: int, method: Method, model: nn.Module) -> Arguments:
    args, kwargs = inputs.make(batch_size, "cpu" if method == "real" else "meta")
    if method != "real":
        return args, kwargs
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return tuple(_placed(v, device) for v in args), {k: _placed(v, device) for k, v in kwargs.items()}


def _placed(value: Any, device: torch.device) -> Any:  # noqa: ANN401 - any argument
    """Move the tensors within plain containers, and whatever can move itself, such as a batch of graphs."""
    itself = not isinstance(value, (tuple, list, dict)) and callable(getattr(value, "to", None))
    return value.to(device) if itself else map_tensors(value, lambda t: t.to(device))


def _buffers_to_meta(model: nn.Module) -> None:
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if not buffer.is_meta:
                private.replace_tensor(module, name, meta_like(buffer))


@contextmanager
def _faked(model: nn.Module, recorder: NormRecorder) -> Iterator[None]:
    """Give the (already copied) model parameters that claim to be on the CPU, and record under the fake mode."""
    mode = private.fake_mode()
    assert mode is not None, "the caller asked whether there is one"
    # before the mode is on: under it an older torch takes the new tensors for FakeTensors already
    for module in model.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.is_meta and not private.is_lazy(tensor):
                private.replace_tensor(module, name, private.fake_tensor(mode, tensor, "cpu"))
    recorder.renew(layers_by_tensor(find_layers(model)))
    own_words = logging.getLogger(private.FAKE_TENSOR_LOGGER)  # a traceback for every error, which the trace holds
    with replaced(own_words, "disabled", value=True), mode, recorder:
        yield


def _as_fake(value: Any) -> Any:  # noqa: ANN401 - any nesting
    """Under a fake mode: every tensor becomes one on the CPU."""
    return map_tensors(value, lambda t: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype))


def _watch_own_code(layers: list[Layer], recorder: NormRecorder) -> list[torch.utils.hooks.RemovableHandle]:
    """Note what goes into layers whose forward is not torch's: they may normalise without any function that is known.

    One that holds another layer leaves it to that.
    """

    def watch(layer: Layer, _module: nn.Module, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            recorder.note(layer, tuple(args[0].shape))

    above = {name.rpartition(".")[0] for layer in layers for name in layer.names}
    return [
        layer.module.register_forward_pre_hook(partial(watch, layer))
        for layer in layers
        if layer.name not in above and not _runs_code_of_torch(layer.module)
    ]


def _runs_code_of_torch(module: nn.Module) -> bool:
    author = next(cls for cls in type(module).__mro__ if "forward" in vars(cls))
    return author.__module__.startswith("torch.")
