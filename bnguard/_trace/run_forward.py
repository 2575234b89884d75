"""One forward of a copy of a model, watched."""

from __future__ import annotations

import logging
import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnguard import _private_torch as private
from bnguard._facts.models import LayerFact, Method, Mode
from bnguard._models.inputs import Arguments, Inputs, map_tensors
from bnguard._models.layers import Layer, find_layers, layers_among, names_by_module
from bnguard._stand_ins import cuda
from bnguard._trace.copies import without_ranks
from bnguard._trace.record import NormRecorder, RecordedCall
from bnguard._trace.rows import Choice, ChosenRows
from bnguard._trace.scripted import ScriptedCalls
from bnguard._trace.state import model_kept
from bnguard._untouched import paused_gc, quiet, random_states, random_states_kept, replaced
from bnguard._usercode import one_line, user_traceback


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


@dataclass(frozen=True)
class Noticed:
    """What a forward did beside its normalisation calls.

    Attributes:
        raised: the error that was raised at a call on purpose, None where none was.
        gradients_asked: whether it asked what depends on gradients being recorded.
        refused: errors that torch raised; the model may have caught them.
        drew: whether it moved a random state.
        chose_rows: whether the data chose how many rows go on.

    """

    raised: Exception | None = None
    gradients_asked: bool = False
    refused: tuple[Exception, ...] = ()
    drew: bool = False
    chose_rows: bool = False


@dataclass
class Trace:
    """What one forward showed: the calls in order, and the error that ended it.

    Attributes:
        draws: the same forward with other random numbers, where it drew any.
        notes: what the reader should know of it.
        seen: what else was noticed.

    """

    method: Method
    prepared: PreparedModel
    calls: list[RecordedCall] = field(default_factory=list)
    error: BaseException | None = None
    failed_in: nn.Module | None = None
    """The normalisation layer within whose forward the error was raised, None if it was raised elsewhere."""
    draws: tuple[Trace, ...] = ()
    notes: tuple[str, ...] = ()
    seen: Noticed = Noticed()
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
        if self.method == "real":
            return False
        if self.error is None:  # an error that only the trace brings, and that the model caught
            return any(map(_lacks_values, self.seen.refused))
        return _lacks_values(self.error)


def _lacks_values(error: BaseException) -> bool:
    kinds = (
        "DataDependent",
        "DynamicOutput",
        "UnsupportedFakeTensor",
        "UnsupportedOperator",
        "GuardOnData",
    )
    if isinstance(error, NotImplementedError) or type(error).__name__.startswith(kinds):
        return True
    text = str(error).lower()
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


@dataclass(frozen=True)
class Look:
    """How to run a forward.

    Attributes:
        seed: of all random numbers.
        exact: whether every function is called, so that gradients are recorded; only on shapes is there a choice.
        raise_at: positions of normalisation calls whose error is raised, as it is outside of a trace.
        rows: how many are left where the data choose them.

    """

    seed: int = 0
    exact: bool = False
    raise_at: frozenset[int] = frozenset()
    rows: Choice = "own"


def run_forward(
    prepared: PreparedModel, inputs: Inputs, batch_size: int, method: Method, device: str, look: Look
) -> Trace:
    """Run one forward; an error of the model ends up in the trace, never here.

    It runs in the grad mode of training or evaluation, and leaves random states and the model as they were.
    """
    trace = Trace(method, prepared)
    recorder = NormRecorder(
        prepared.layers,
        prepared.names,
        device,
        compute=method == "real",
        exact=look.exact,
        raise_at=look.raise_at,
    )
    rows = ChosenRows(look.rows)
    compiled = method == "real" and isinstance(prepared.model, private.script_module_type())
    scripted = ScriptedCalls(prepared.layers) if compiled else None
    drew = False
    with ExitStack() as stack:
        if any(private.compiled_original(m) is not None for m, _ in prepared.flags):
            stack.enter_context(private.compiled_code_runs_eagerly())  # what is compiled hides whose call it is
        for context in (quiet(), paused_gc(), random_states_kept(), model_kept(prepared.model)):
            stack.enter_context(context)
        stack.enter_context(torch.set_grad_enabled(prepared.model.training))
        stack.enter_context(cuda.made_on("meta" if method == "meta" else "cpu"))
        for handle in _watch_own_code(prepared.layers, recorder):
            stack.callback(handle.remove)
        _seed(look.seed)
        before = None
        try:
            args, kwargs = _arguments(inputs, batch_size, method, prepared.model)
            before = random_states()
            watching = recorder if method != "fake" else _faked(prepared.model, recorder)
            with watching, rows if method == "real" else nullcontext(), scripted or nullcontext():
                if method == "fake":
                    args, kwargs = _as_fake(args), _as_fake(kwargs)
                prepared.model(*args, **kwargs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's forward may raise anything: it is told
            trace.error, trace.failed_in = error, _layer_of(error, prepared)
        drew = before is not None and random_states() != before
    trace.calls = recorder.calls if scripted is None else scripted.calls
    trace.seen = Noticed(recorder.raised, recorder.gradients_asked, tuple(recorder.refused), drew, rows.seen)
    return trace


def _seed(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)


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
    recorder.renew(find_layers(model))
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
