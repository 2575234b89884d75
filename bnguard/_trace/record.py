"""Watching every normalisation call of a forward, and letting the forward go on past those that would raise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType, FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function

from bnguard import _private_torch as private
from bnguard._facts.models import NormCall
from bnguard._facts.norm_kinds import NormKind
from bnguard._models.layers import Bound, Call, Layer, is_torch_batch_norm, layers_by_tensor, norms
from bnguard._trace.shapes import ShapeAnswers
from bnguard._untouched import intercept

DEFAULT_EPS = 1e-5

_STATISTICS = ("running_mean", "running_var")

_PROPERTIES = (
    ("requires_grad", "__get__"),
    ("requires_grad", "__set__"),
    ("grad_fn", "__get__"),
    ("is_leaf", "__get__"),
)

_OF_GRADIENTS = frozenset(
    {
        *(getattr(getattr(Tensor, name), way) for name, way in _PROPERTIES),
        Tensor.requires_grad_,
        Tensor.register_hook,
        Tensor.retain_grad,
        Tensor.backward,
        torch.autograd.grad,
    }
)
"""What a forward asks that is true only where gradients are recorded."""


class RecordedCall(NamedTuple):
    """One normalisation call: of which kind, by which module, and with what.

    Attributes:
        features: the number of values in weight, bias and running statistics.
        entered: whether no call was seen, but that a layer with code of its own was given this shape: what it did with
            it is found out later.
        data_dependent: whether the values of the input decide its shape, by a mask for instance.

    """

    kind: NormKind
    owner: nn.Module | None
    call: NormCall
    features: int | None
    affine: bool = False
    tracks: bool = False
    momentum: float | None = None
    eps: float = 0.0
    num_groups: int | None = None
    entered: bool = False
    data_dependent: bool = False


class NormRecorder(TorchFunctionMode):
    """A mode under which a model's forward is watched.

    Args:
        layers: of the model; a call names its layer by the stack, or by the tensors that it uses.
        names: the names of the model's modules by identity; others on the stack are passed over.
        device: ``cuda`` or ``cpu``: whose backend the calls predict.
        compute: whether tensors have values (a real forward); otherwise shapes alone are asked.
        exact: whether every function is called, so that what it returns knows of gradients; shapes alone do not.
        raise_at: positions of calls whose error is raised, as it is outside of a trace.

    Attributes:
        calls: in execution order.
        raised: the last error that was raised at one of ``raise_at``.
        gradients_asked: whether the forward asked what depends on gradients being recorded.
        refused: errors that torch itself raised, which the model may have caught.

    """

    def __init__(
        self,
        layers: list[Layer],
        names: Mapping[int, str],
        device: str,
        *,
        compute: bool,
        exact: bool = False,
        raise_at: Collection[int] = (),
    ) -> None:
        super().__init__()
        self._names = names
        self.calls: list[RecordedCall] = []
        self.raised: Exception | None = None
        self.gradients_asked = False
        self.refused: list[Exception] = []
        self._layers = {id(layer.module) for layer in layers}
        self._layer_of = layers_by_tensor(layers)
        self._device = device
        self._compute = compute
        self._exact = exact or compute
        self._raise_at = raise_at
        self._answers = ShapeAnswers()
        self._functions: Mapping[Any, Bound] = {}
        self._stack = ExitStack()

    def renew(self, layers: list[Layer]) -> None:
        """Take the layers of the same model after their tensors were exchanged."""
        self._layer_of = layers_by_tensor(layers)

    def __enter__(self) -> NormRecorder:
        known = norms()
        self._functions = {**known.functions, **self._stack.enter_context(overridable(known.foreign))}
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._stack.close()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Record a normalisation call, else answer as torch does."""
        kwargs = kwargs or {}
        bound = self._functions.get(func)
        if bound is not None:
            return self._normalise(bound.call(args, kwargs))
        self.gradients_asked |= func in _OF_GRADIENTS
        try:
            return func(*args, **kwargs) if self._exact else self._answers.ask(func, args, kwargs)
        except Exception as error:
            self.refused.append(error)
            raise

    def note(self, layer: Layer, shape: tuple[int, ...]) -> None:
        """Record that a layer with code of its own was given this shape; what it did is found out later."""
        features = shape[1] if len(shape) > 1 else None
        self.calls.append(RecordedCall(layer.kind, layer.module, NormCall(shape, 0, False), features, entered=True))

    def _normalise(self, call: Call) -> Tensor:
        """Record the call, and return what lets the forward go on."""
        if not call.fits():
            call.raise_as_torch()
        fact = call.fact(**(_of_batch_norm(call, self._device) if is_torch_batch_norm(call) else {}))
        if fact.stops and len(self.calls) in self._raise_at:
            self._record(call, replace(fact, raises=False, rejected=None, error=None))  # the model goes on without it
            self.raised = _error_of(call, fact)
            raise self.raised
        self._record(call, fact)
        if not self._exact:
            return call.input
        if fact.stops or not self._compute:
            return _passed_on(call)
        return call.changed(**{name: call.tensors[name].clone() for name in _STATISTICS if name in call.tensors}).run()

    def _record(self, call: Call, fact: NormCall) -> None:
        self.calls.append(
            RecordedCall(
                call.kind,
                self._owner(call),
                fact,
                call.features,
                "weight" in call.tensors or "bias" in call.tensors,
                "running_mean" in call.tensors,
                call.momentum,
                call.eps,
                call.arguments.get("num_groups"),
            )
        )

    def _owner(self, call: Call) -> nn.Module | None:
        """Return the layer whose method is on the stack, else the one whose tensors the call uses, else its caller.

        Layers may share statistics or weights: the stack is asked first.
        """
        caller = self._calling_module()
        if caller is not None and id(caller) in self._layers:
            return caller
        known = (self._layer_of.get(id(t)) for t in call.owners())
        return next((m for m in known if m is not None), caller)

    def _calling_module(self) -> nn.Module | None:
        """Return the innermost module of the model whose method is on the stack: it made the functional call."""
        frame: FrameType | None = sys._getframe(3)
        while frame is not None:
            code = frame.f_code
            if code.co_argcount:
                first = frame.f_locals.get(code.co_varnames[0])
                if isinstance(first, nn.Module) and id(first) in self._names:
                    return first
            frame = frame.f_back
        return None


def _passed_on(call: Call) -> Tensor:
    """Return the input as the call would, with values left as they are and a gradient wherever it would have one."""
    passed = call.input.clone()
    for name in ("weight", "bias"):
        parameter = call.tensors.get(name)
        if parameter is not None and parameter.requires_grad and torch.is_grad_enabled():
            passed = passed + 0 * parameter.sum().to(passed.dtype)
    return passed


def _error_of(call: Call, fact: NormCall) -> Exception:
    """Return the error that the call raises, in torch's own words where it can be heard saying it."""
    try:
        call.raise_as_torch()
    except Exception as error:  # noqa: BLE001 - the very thing that is wanted
        return error.with_traceback(None)
    kind = RuntimeError if fact.error == RuntimeError.__name__ else ValueError
    return kind(fact.rejected or f"Expected more than 1 value per channel when training, got input size {fact.shape}")


@contextmanager
def overridable(functions: Sequence[Bound]) -> Iterator[Mapping[Any, Bound]]:
    """Let a ``TorchFunctionMode`` be told of other packages' functions too, under every name that they have.

    Yields:
        The functions by what the mode is given for them.

    """
    seen: dict[Any, Bound] = {}
    with ExitStack() as stack:
        for bound in functions:
            if isinstance(bound.live, FunctionType) and bound.live.__closure__ is None:
                original = intercept(stack, bound.live, _tell)
                seen[original] = replace(bound, live=original)
        yield seen


def _tell(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if has_torch_function(tensors):  # a mode is on
        return handle_torch_function(original, tensors, *args, **kwargs)
    return original(*args, **kwargs)


# ------------------------------------------------------------------------- what is special to torch's batch_norm


def _of_batch_norm(call: Call, device: str) -> dict[str, Any]:
    """Return what batch_norm alone has: a choice of backend, and dtypes and an eps that it rejects."""
    given, eps = call.tensors, call.eps
    weight, mean = given.get("weight"), given.get("running_mean")
    backend = partial(
        private.batch_norm_backend,
        call.shape,
        call.input.dtype,
        None if weight is None or "bias" not in given else weight.dtype,
        None if mean is None or "running_var" not in given else mean.dtype,
        call.batch_statistics,
        device=device,
    )
    affine = given.get("bias") if weight is None else weight
    refused = _rejected(call.input.dtype, _dtype(affine), _dtype(mean)) or (None if eps > 0 else _bad_eps(call))
    return {
        "backend": backend(eps),
        "eps_avoids_cudnn": 0 < eps < DEFAULT_EPS and backend(eps) != "cudnn" == backend(DEFAULT_EPS),
        "rejected": refused.message if refused else None,
        "error": refused.error if refused else None,
    }


class _Refusal(NamedTuple):
    """How torch refuses a call: the name of the exception's type, and the first line of its message."""

    error: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> _Refusal:
        return cls(type(error).__name__, str(error).splitlines()[0])


_REJECTED: dict[tuple[Any, ...], _Refusal | None] = {}


def _rejected(input_dtype: torch.dtype, param: torch.dtype | None, stats: torch.dtype | None) -> _Refusal | None:
    """Return torch's own words when batch_norm refuses this mix of dtypes, asked once of two values."""
    if (param is None or param is input_dtype) and (stats is None or stats is input_dtype):
        return None
    key = (input_dtype, param, stats)
    if key not in _REJECTED:

        def ones(dtype: torch.dtype | None) -> Tensor | None:
            return None if dtype is None else torch.ones(1, dtype=dtype)

        try:
            with private.no_modes(), torch.no_grad():
                torch.batch_norm(
                    torch.ones(2, 1, dtype=input_dtype),
                    ones(param),
                    ones(param),
                    ones(stats),
                    ones(stats),
                    True,
                    0.1,
                    1e-5,
                    False,
                )
        except RuntimeError as error:
            _REJECTED[key] = _Refusal.of(error)
        else:
            _REJECTED[key] = None
    return _REJECTED[key]


def _bad_eps(call: Call) -> _Refusal | None:
    """Return torch's words for an eps that it rejects; which ones it rejects differs between releases."""
    try:
        with private.no_modes(), torch.no_grad():
            one = torch.ones(1)
            call.changed(input=torch.ones(2, 1), running_mean=one, running_var=one, weight=None, bias=None).run()
    except (ValueError, RuntimeError) as error:
        return _Refusal.of(error)
    return None


def _dtype(tensor: Tensor | None) -> torch.dtype | None:
    return None if tensor is None else tensor.dtype
