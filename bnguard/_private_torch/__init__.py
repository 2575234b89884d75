"""The private parts of torch that bnguard uses, each behind a guard: where one is missing, the answer is None.

Nothing else in the package may name an underscore of torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from math import prod
from typing import Any

import torch

from bnguard._private_torch.backward import in_backward as in_backward
from bnguard._private_torch.backward import order_in_backward as order_in_backward
from bnguard._private_torch.backward import saved_state as saved_state
from bnguard._private_torch.backward import saved_value as saved_value

FAKE_TENSOR_LOGGER = "torch._subclasses.fake_tensor"
# The property of a DataLoader that each of its iterators draws its indices from.
INDEX_SAMPLER = "_index_sampler"
COMPILER = "torch._dynamo"


@lru_cache(maxsize=1)
def fake_tensor_types() -> tuple[Any, Any] | None:
    """Return ``(FakeTensorMode, FakeTensor)``, or None where this torch has them under another name."""
    try:
        from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    except ImportError:
        return None
    return FakeTensorMode, FakeTensor


def fake_mode() -> AbstractContextManager[Any] | None:
    """Return a fresh mode under which tensors have a device and a shape but no memory, or None."""
    types = fake_tensor_types()
    return None if types is None else types[0](allow_non_fake_inputs=True)


def fake_tensor(mode: Any, like: torch.Tensor, device: str) -> torch.Tensor:  # noqa: ANN401 - FakeTensorMode is private
    """Return a tensor without memory that claims to live on ``device``, shaped and typed as ``like``."""
    types = fake_tensor_types()
    assert types is not None, "a mode exists, so its tensor type does"
    meta = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="meta")
    fake: torch.Tensor = types[1](mode, meta, torch.device(device))
    return fake.requires_grad_(like.requires_grad)


@lru_cache(maxsize=1)
def _backend_selector() -> Any:  # noqa: ANN401 - a C function without a stub
    return getattr(torch._C, "_select_batch_norm_backend", None)


def batch_norm_backend(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    param_dtype: torch.dtype | None,
    stats_dtype: torch.dtype | None,
    training: bool,
    eps: float,
    device: str,
) -> str | None:
    """Return the kernel family that PyTorch chooses for a batch_norm call, without such a device at hand.

    Asked of ``aten/src/ATen/native/Normalization.cpp`` through ``torch._C._select_batch_norm_backend``.

    Args:
        shape: of the input, channels at index 1.
        dtype: of the input.
        param_dtype: of weight and bias, None without them.
        stats_dtype: of the running statistics, None without them.
        training: whether batch statistics are used.
        eps: as given to the call.
        device: ``cuda`` or ``cpu``.

    Returns:
        ``cudnn``, ``native``, ``miopen``, or None where this torch cannot be asked (a build without CUDA,
        a release without the function).

    """
    # the choice depends on N, the rank and whether 2**31 - 1 elements are reached (same source file): asking
    # about the smallest such shape makes one question of the fifty that a network's layers would be
    if prod(shape) < 2**31 - 1:
        shape = (shape[0], 1, *(1 for _ in shape[2:]))
    with no_modes():
        return _ask_backend(shape, dtype, param_dtype, stats_dtype, training, eps, device)


def dispatch_mode() -> Any:  # noqa: ANN401 - a class, or what stands for it
    """Return torch's class of modes that see every operator; without it one that is never asked and sees nothing."""
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:
        return nullcontext
    return TorchDispatchMode


def no_modes() -> AbstractContextManager[Any]:
    """Return a context outside any FakeTensorMode that is being traced under."""
    try:
        from torch.utils._python_dispatch import _disable_current_modes
    except ImportError:
        return nullcontext()
    context: AbstractContextManager[Any] = _disable_current_modes()
    return context


@lru_cache(maxsize=4096)
def _ask_backend(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    param_dtype: torch.dtype | None,
    stats_dtype: torch.dtype | None,
    training: bool,
    eps: float,
    device: str,
) -> str | None:
    select, mode = _backend_selector(), fake_mode()
    if select is None or mode is None or (device == "cuda" and not is_cuda_build()):
        return None

    # the function takes tensors only. Without weight and bias PyTorch uses its own kernel; running statistics may be
    # missing in training, and then they do not matter to the choice (same source file)
    if param_dtype is None or (stats_dtype is None and not training):
        return "native"

    def make(size: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
        return fake_tensor(mode, torch.empty(size, dtype=kind, device="meta"), device)

    affine, stats = ([make((shape[1],), kind) for _ in range(2)] for kind in (param_dtype, stats_dtype or param_dtype))
    try:
        chosen = select(make(shape, dtype), *affine, *stats, training, eps)
    except (RuntimeError, TypeError, IndexError):
        return None
    return str(getattr(chosen, "name", chosen)).rsplit(".", 1)[-1].lower()


def script_module_type() -> type | tuple[()]:
    """Return the class of TorchScript modules, or an empty tuple that no instance matches."""
    found = getattr(torch.jit, "ScriptModule", None)
    return found if isinstance(found, type) else ()


COMPILED = "_orig_mod"
"""The name under which ``torch.compile``'s wrapper holds the module that it compiles."""


def compiled_original(module: torch.nn.Module) -> torch.nn.Module | None:
    """Return the module inside ``torch.compile``'s wrapper, or None if it is not one."""
    original = getattr(module, COMPILED, None)
    return original if isinstance(original, torch.nn.Module) else None


def batch_norm_base() -> type[torch.nn.Module]:
    """Return the class under every BatchNorm of torch, SyncBatchNorm and the lazy ones included."""
    base: type[torch.nn.Module] = torch.nn.modules.batchnorm._BatchNorm
    return base


def base_of(cls: type) -> type:
    """Return the private class that stands under a public one and its kin, which others inherit from, or the class."""
    kin = (c for c in cls.__mro__ if c.__module__ == cls.__module__ and c.__name__.startswith("_"))
    return next(kin, cls)


def is_registered(module: torch.nn.Module, name: str) -> bool:
    """Whether the module has a parameter, buffer or child of this name, also where there is None in its place."""
    own = module.__dict__  # of a module whose constructor has not yet run, it lacks them all
    return name in own.get("_parameters", ()) or name in own.get("_buffers", ()) or name in own.get("_modules", ())


def has_children(module: torch.nn.Module) -> bool:
    """Whether the module holds others."""
    return bool(module.__dict__.get("_modules"))


def own_tensor(module: torch.nn.Module, name: str) -> torch.Tensor | None:
    """Return the module's own tensor of that name, without the cost of a failing ``getattr`` on a module."""
    if isinstance(module, script_module_type()):
        value = getattr(module, name, None)
        return value if isinstance(value, torch.Tensor) else None
    own = module.__dict__
    for space in (own.get("_buffers") or {}, own, own.get("_parameters") or {}):
        value = space.get(name)
        if isinstance(value, torch.Tensor) and not is_lazy(value):
            return value
    return None


def replace_tensor(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer, whatever its class (a FakeTensor is no Parameter)."""
    space = module._parameters if name in module._parameters else module._buffers
    space[name] = tensor  # type: ignore[assignment]


def version(tensor: torch.Tensor) -> int:
    """Return how often the tensor was changed in place; not to be asked of one of inference mode."""
    return int(tensor._version)


def has_values(tensor: torch.Tensor) -> bool:
    """Whether the tensor has numbers: it is neither on the meta device nor a FakeTensor."""
    types = fake_tensor_types()
    return not tensor.is_meta and not (types is not None and isinstance(tensor, types[1]))


def wrapped(module: torch.nn.Module) -> torch.nn.Module | None:
    """Return what DataParallel, DistributedDataParallel or torch.compile has wrapped here, or None."""
    inner: object = compiled_original(module)
    if inner is None and isinstance(module, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
        inner = module.module
    return inner if isinstance(inner, torch.nn.Module) else None


def named_modules(module: torch.nn.Module, prefix: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """As ``module.named_modules(remove_duplicate=False)``, in a third of the time, and wrappers add no name."""
    if isinstance(module, script_module_type()):  # keeps its children elsewhere
        yield from module.named_modules(prefix=prefix, remove_duplicate=False)
        return
    found = [(prefix, module)]
    while found:
        name, current = found.pop()
        yield name, current
        inner = wrapped(current)
        if inner is not None:
            found.append((name, inner))
            continue
        below = [(f"{name}.{n}" if name else n, m) for n, m in current._modules.items() if m is not None]
        found.extend(reversed(below))


def is_cuda_build() -> bool:
    """Whether this torch was built with CUDA; says nothing of a GPU being there."""
    return bool(torch.backends.cuda.is_built())  # type: ignore[no-untyped-call]


def fresh_lazy(tensor: torch.Tensor, device: str) -> Any:  # noqa: ANN401 - the stubs lack these constructors
    """Return another parameter or buffer that has no shape yet; deepcopy cannot copy such a buffer."""
    kind: Any = type(tensor)
    return kind(isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad, device=device, dtype=tensor.dtype)


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether the parameter or buffer has no shape yet (torch's own test narrows the type beyond use)."""
    return bool(torch.nn.parameter.is_lazy(tensor))


# ------------------------------------------------------------------------------------ the graph of a backward


def default_device() -> torch.device | None:
    """Return the device that ``torch.set_default_device`` set, None where nobody did.

    ``torch.get_default_device`` says ``cpu`` in both cases, and setting that again would leave a mode behind.
    """
    context = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    device = getattr(context, "device", None)
    return device if isinstance(device, torch.device) else None


def compiled_code_runs_eagerly() -> AbstractContextManager[Any]:
    """Return a context in which what ``torch.compile`` gave runs as it was written, and nothing is compiled."""
    set_stance: Any = getattr(torch.compiler, "set_stance", None)  # from torch 2.6 on
    if set_stance is not None:
        stance: AbstractContextManager[Any] = set_stance("force_eager")
        return stance
    from torch._dynamo import config

    return config.patch(disable=True)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------ loaders and modules


def loader_with(loader: Any, **parts: Any) -> Any:  # noqa: ANN401 - a DataLoader or a subclass, and its attributes
    """Return a DataLoader as this one, subclass and all its attributes included, with some parts replaced.

    The constructor of a subclass may want anything, and a DataLoader refuses new samplers after its construction.
    So the copy is made below both. Iterators of persistent workers stay with the original; a subclass that has asked
    for its own beforehand gets another one.
    """
    other = copy.copy(loader)
    vars(other).update(parts)
    if "_iterator" in vars(other):
        vars(other)["_iterator"] = None
    for name, value in vars(loader).items():
        if name != "_iterator" and is_loader_iterator(value):
            vars(other)[name] = torch.utils.data.DataLoader.__iter__(other)
    return other


@contextmanager
def as_worker(number: int, workers: int, dataset: Any) -> Iterator[None]:  # noqa: ANN401 - any dataset
    """Let ``get_worker_info`` answer as in this worker of a DataLoader."""
    from torch.utils.data._utils import worker

    info = getattr(worker, "_worker_info", None)
    worker._worker_info = worker.WorkerInfo(id=number, num_workers=workers, seed=number, dataset=dataset)
    try:
        yield
    finally:
        worker._worker_info = info


def is_loader_iterator(value: object) -> bool:
    """Whether this gives a DataLoader's batches."""
    begun: Any = getattr(torch.utils.data.dataloader, "_BaseDataLoaderIter", ())
    return isinstance(value, begun)


RUN_HOOKS = ("_call_impl", "_wrapped_call_impl", "__call__")
"""Methods of a module that run the user's hooks too: an error below them need not be the layer's."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FLAGS_OF_HOOKS = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")


def hooks_of(module: torch.nn.Module) -> list[dict[int, Any]]:
    """Return the very dictionaries that hold the module's hooks of a forward and a backward, by the number of each."""
    return [module.__dict__.get(name, {}) for name in _HOOKS]


def move_hooks(old: torch.nn.Module, new: torch.nn.Module) -> None:
    """Give one module the very hooks of another, so that the handles that the user keeps still remove them."""
    for name in (*_HOOKS, *_FLAGS_OF_HOOKS, "_state_dict_hooks"):
        if name in vars(old) and name in vars(new):
            vars(new)[name] = vars(old)[name]


def is_parametrised(module: torch.nn.Module) -> bool:
    """Whether a weight of the module is computed from others, by ``torch.nn.utils.parametrize`` or in the old way."""
    from torch.nn.utils import parametrize

    computed = any(
        name not in module._parameters and f"{name}_orig" in module._parameters for name in ("weight", "bias")
    )
    return parametrize.is_parametrized(module) or computed or "weight_g" in module._parameters


def told_of_chosen_rows(told: Callable[[Any], None]) -> AbstractContextManager[Any]:
    """Return a context in which each result whose size the data choose is told of: masks, ``nonzero``, ``unique``."""
    base: Any = dispatch_mode()

    class Watch(base):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
            result = func(*args, **(kwargs or {}))
            if torch.Tag.dynamic_output_shape in func.tags and _by_data(func, args):
                told(result)
            return result

    return Watch()


def _by_data(func: Any, args: tuple[Any, ...]) -> bool:  # noqa: ANN401 - an operator
    """Whether the size of the result is not that of an index; an index of integers has its own size."""
    if "index" not in func.name():
        return True
    indices = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else args
    return any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)


def is_tracing() -> bool:
    """Whether ``torch.jit.trace`` is at work, whose forwards train nothing."""
    return bool(torch._C._get_tracing_state())


def device_context() -> Any:  # noqa: ANN401 - a private class, or None
    """Return the class of the mode of ``with torch.device(…)``; the functions that it is for have been looked up."""
    from torch.utils import _device

    getattr(_device, "_device_constructors", set)()
    return getattr(_device, "DeviceContext", None)
