"""What makes, moves and loads tensors, with the CPU where it is asked for CUDA."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from bnguard import _private_torch as private
from bnguard._stand_ins.cuda.in_place import is_cuda, told

if TYPE_CHECKING:
    from bnguard._stand_ins.cuda.in_place import Replaced, State

_WINDOWS = "bartlett_window blackman_window hamming_window hann_window kaiser_window"
_SPARSE = "sparse_coo_tensor sparse_compressed_tensor sparse_csr_tensor sparse_csc_tensor sparse_bsr_tensor"
_MAKERS: tuple[tuple[Any, str], ...] = (
    (torch, "empty empty_permuted empty_strided empty_quantized ones zeros full eye tensor as_tensor asarray"),
    (
        torch,
        "scalar_tensor arange range linspace logspace rand randn randint randperm normal tril_indices triu_indices",
    ),
    (torch, "empty_like ones_like zeros_like full_like rand_like randn_like randint_like"),
    (torch, _WINDOWS),
    (torch, f"{_SPARSE} sparse_bsc_tensor"),
    (torch.fft, "fftfreq rfftfreq"),
    (torch.nested, "nested_tensor as_nested_tensor"),
    (torch.Tensor, "new_tensor new_empty new_empty_strided new_full new_ones new_zeros"),
)
"""Functions that have an argument ``device``, given by its name."""


def replace(replaced: Replaced, state: State) -> None:
    """Put all of it in place."""
    replaced.put(private.device_context(), "__init__", functools.partial(_default_device, state))
    for owner, names in _MAKERS:
        for name in names.split():
            replaced.put(owner, name, functools.partial(_making, state))
    movable: tuple[Any, ...] = (
        torch.Tensor,
        torch.UntypedStorage,
        getattr(torch, "TypedStorage", torch.UntypedStorage),
    )
    for owner in movable:
        replaced.put(owner, "to", functools.partial(_moving, state))
        replaced.put(owner, "cuda", functools.partial(_to_cuda, state))
        replaced.put(owner, "pin_memory", lambda _: lambda self, *_, **__: self)
    replaced.put(torch.Tensor, "record_stream", lambda _: lambda *_: None)
    _replace_types(replaced, state)
    replaced.put(torch, "Generator", _generator)
    _replace_loading(replaced, state)
    replaced.put(torch.jit, "script", functools.partial(_scripting, replaced))
    replaced.set_aside_for(private.COMPILER)  # it looks up torch's functions, which it knows by identity


def _making(state: State, make: Callable[..., Any]) -> Any:  # noqa: ANN401 - a function
    def made(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of any signature
        if kwargs:
            if is_cuda(kwargs.get("device")):
                kwargs["device"] = state.instead_of(kwargs["device"])
            if kwargs.get("pin_memory"):
                kwargs["pin_memory"] = False
        return make(*args, **kwargs)

    return _named_as(make, made)


def _named_as(original: Any, function: Any) -> Any:  # noqa: ANN401 - functions, some of them in C
    function.__name__ = getattr(original, "__name__", function.__name__)
    function.__doc__ = original.__doc__
    return function


# ------------------------------------------------------------------------------------------------ moving


def _here(state: State, tensor: Any) -> Any:  # noqa: ANN401 - a tensor or a storage
    """Return where the tensor goes instead: a tensor without values stays one."""
    state.told()
    return tensor.device if tensor.device.type == "meta" else state.place


def _moving(state: State, move: Callable[..., Any]) -> Any:  # noqa: ANN401 - a method
    def to(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of any signature
        if args and is_cuda(args[0]):
            args = (_here(state, self), *args[1:])
        elif is_cuda(kwargs.get("device")):
            kwargs["device"] = _here(state, self)
        return move(self, *args, **kwargs)

    return _named_as(move, to)


def _to_cuda(state: State, move: Callable[..., Any]) -> Any:  # noqa: ANN401 - a method
    def cuda(
        self: Any,  # noqa: ANN401 - a tensor or a storage
        device: Any = None,  # noqa: ANN401 - a device in any of its forms
        non_blocking: bool = False,  # noqa: ARG001 - of torch's signature
        **kwargs: Any,  # noqa: ANN401 - a memory format
    ) -> Any:  # noqa: ANN401
        place = _here(state, self)
        if device is not None and not is_cuda(device):
            return move(self, device, **kwargs)  # torch's own words for that
        return self.to(device=place, **kwargs)

    return _named_as(move, cuda)


# ------------------------------------------------------------- types by name, generators, the default device


def _replace_types(replaced: Replaced, state: State) -> None:
    """``torch.cuda.FloatTensor`` is ``torch.FloatTensor``, as a class and as a text."""
    instead: dict[int, Any] = {}
    for name in [n for n in vars(torch.cuda) if n.endswith("Tensor") and hasattr(torch, n)]:
        instead[id(getattr(torch.cuda, name))] = getattr(torch, name)
        replaced.put(torch.cuda, name, functools.partial(_named_in_torch, name))

    def meant(kind: Any) -> Any:  # noqa: ANN401 - a text, a type, a dtype
        if isinstance(kind, str) and kind.startswith("torch.cuda."):
            state.told()
            return kind.replace("torch.cuda.", "torch.", 1)
        return instead.get(id(kind), kind)

    def with_type(original: Callable[..., Any], *, position: int) -> Callable[..., Any]:
        def typed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of any signature
            given = (*args[:position], *(meant(kind) for kind in args[position : position + 1]), *args[position + 1 :])
            if "dtype" in kwargs:
                kwargs["dtype"] = meant(kwargs["dtype"])
            return original(*given, **kwargs)

        return _named_as(original, typed)  # type: ignore[no-any-return]

    replaced.put(torch.Tensor, "type", functools.partial(with_type, position=1))
    replaced.put(torch, "set_default_tensor_type", functools.partial(with_type, position=0))


def _named_in_torch(name: str, _: object) -> Any:  # noqa: ANN401 - a type of tensors
    return getattr(torch, name)


@functools.lru_cache(maxsize=1)
def _generator(original: Any) -> Any:  # noqa: ANN401 - a class
    """Return a class that makes generators of torch's own class, which are its instances too."""

    class Made(type(original)):  # type: ignore[misc]
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - its own, or a subclass's
            if cls is not Generator:
                return super().__call__(*args, **kwargs)
            device = kwargs.get("device", args[0] if args else "cpu")
            if is_cuda(device):
                told()
                device = "cpu"
            return original(device)

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original) if cls is Generator else super().__instancecheck__(instance)

    class Generator(original, metaclass=Made):  # type: ignore[misc]
        __doc__ = original.__doc__

    return Generator


def _default_device(state: State, original: Callable[..., None]) -> Callable[..., None]:
    """``with torch.device("cuda")`` and ``torch.set_default_device("cuda")``."""

    def __init__(self: Any, device: Any) -> None:  # noqa: ANN401, N807 - it takes that method's place
        original(self, state.instead_of(device))

    return __init__


# ----------------------------------------------------------------------------------------------- loading


def _replace_loading(replaced: Replaced, state: State) -> None:
    def restore_on_cpu(restore: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(restore)
        def restored(storage: Any, location: Any) -> Any:  # noqa: ANN401 - a storage, and a text
            return restore(storage, "cpu" if is_cuda(location) and state.instead_of(location) else location)

        return restored

    def load_on_cpu(load: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(load)
        def loaded(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            cuda = map_location is None or is_cuda(map_location)
            if map_location is not None:
                state.instead_of(map_location)
            return load(f, "cpu" if cuda else map_location, *args, **kwargs)

        return loaded

    replaced.put(torch.serialization, "default_restore_location", restore_on_cpu)
    replaced.put(torch.jit, "load", load_on_cpu)


def _scripting(replaced: Replaced, script: Callable[..., Any]) -> Callable[..., Any]:
    """TorchScript knows torch's functions by identity: it compiles with the real ones."""

    @functools.wraps(script)
    def scripted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - torch's own signature
        with replaced.set_aside():
            return script(*args, **kwargs)

    return scripted
