"""``torch.cuda``, and what else speaks of a device, where the CPU stands in for it: all is done at once."""

from __future__ import annotations

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from bnguard._stand_ins.cuda.in_place import told

if TYPE_CHECKING:
    from bnguard._stand_ins.cuda.in_place import Replaced, State

_NOTHING = (
    "set_device synchronize init ipc_collect set_stream set_per_process_memory_fraction set_sync_debug_mode "
    "reset_peak_memory_stats reset_max_memory_allocated reset_max_memory_cached reset_accumulated_memory_stats "
    "reset_peak_host_memory_stats reset_accumulated_host_memory_stats"
)
"""Functions of ``torch.cuda`` that there is nothing to do for."""

_MEMORY = 16 * 2**30
"""Bytes that the device is said to have, all of them free."""

_NAME, _CAPABILITY = "the CPU in the place of CUDA", (8, 0)

_ANSWERS: dict[str, Any] = {
    **dict.fromkeys(("current_device", "utilization", "memory_usage", "temperature", "power_draw", "clock_rate"), 0),
    **dict.fromkeys(("get_sync_debug_mode", "current_blas_handle", "device_memory_used"), 0),
    "get_per_process_memory_fraction": 1.0,
    "get_device_name": _NAME,
    "get_device_capability": _CAPABILITY,
    "mem_get_info": (_MEMORY, _MEMORY),
    "memory_summary": "",
    "can_device_access_peer": False,
    "is_current_stream_capturing": False,
    "is_bf16_supported": True,
    "graph_pool_handle": (0, 0),
}
"""What other functions of ``torch.cuda`` say."""

_NVTX = {"range_push": 0, "range_pop": 0, "mark": None, "range_start": 0, "range_end": None}
_ACCELERATOR = "synchronize set_device_index set_device_idx set_stream reset_peak_memory_stats"


def replace(replaced: Replaced, state: State) -> None:
    """Put all of it in place."""
    cuda: Any = torch.cuda

    def answer(owner: Any, name: str, value: Any) -> None:  # noqa: ANN401 - a module; whatever the function gives
        replaced.put(owner, name, lambda original: _saying(state, original, value))

    for name in _NOTHING.split():
        answer(cuda, name, None)
    for name, value in _ANSWERS.items():
        answer(cuda, name, value)
    for name, value in _NVTX.items():
        answer(getattr(cuda, "nvtx", None), name, value)
    for name in ("start", "stop"):
        answer(getattr(cuda, "profiler", None), name, None)
    for name in _ACCELERATOR.split():
        answer(getattr(torch, "accelerator", None), name, None)
    replaced.put(cuda, "cudart", lambda _: _Silent)
    replaced.put(cuda, "memory_stats", lambda _: lambda *_, **__: defaultdict(int))
    replaced.put(cuda, "get_device_properties", lambda _: lambda *_: SimpleNamespace(**_PROPERTIES))
    replaced.put(cuda, "initial_seed", lambda _: torch.initial_seed)
    replaced.put(cuda, "get_rng_state", lambda _: lambda *_, **__: torch.default_generator.get_state())
    replaced.put(cuda, "make_graphed_callables", lambda _: lambda callables, *_, **__: callables)
    for name in ("current_stream", "default_stream"):
        replaced.put(cuda, name, lambda _: lambda *_, **__: Stream())
    for name in ("Stream", "ExternalStream"):
        replaced.put(cuda, name, lambda _: _TellingStream)
    replaced.put(cuda, "Event", lambda _: Event)
    for name in ("device", "device_of", "stream", "StreamContext", "graph"):
        replaced.put(cuda, name, lambda _: _TellingContext)
    replaced.put(cuda, "CUDAGraph", lambda _: _Silent)
    replaced.put(cuda, "is_available", lambda original: _is_there(state, original, claim=True))
    replaced.put(cuda, "device_count", lambda original: _is_there(state, original, claim=1))


def _saying(state: State, original: Callable[..., Any], value: Any) -> Callable[..., Any]:  # noqa: ANN401
    def say(*_: Any, **__: Any) -> Any:  # noqa: ANN401 - of any signature
        state.told()
        return value

    return functools.update_wrapper(say, original)


def _is_there(state: State, original: Callable[[], Any], claim: Any) -> Callable[[], Any]:  # noqa: ANN401
    """Tell the truth, or what is claimed; torch itself always gets the truth, as it would act on it."""

    @functools.wraps(original)
    def is_there() -> Any:  # noqa: ANN401 - a truth value or a number
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "torch":
            return original()
        state.asked_whether = True
        if not state.claimed:
            return original()
        state.tell("torch.cuda.is_available()", "true")
        return claim

    return is_there


_PROPERTIES: dict[str, Any] = {
    "name": _NAME,
    "major": _CAPABILITY[0],
    "minor": _CAPABILITY[1],
    "total_memory": _MEMORY,
    "multi_processor_count": 1,
    "max_threads_per_multi_processor": 2048,
    "warp_size": 32,
    "regs_per_multiprocessor": 65536,
    "is_integrated": 0,
    "is_multi_gpu_board": 0,
    "L2_cache_size": 2**22,
    "shared_memory_per_block": 49152,
    "uuid": "00000000-0000-0000-0000-000000000000",
    "gcnArchName": "",
}


class _Entered:
    """A context in which nothing is different: another device, a stream, a graph that is captured."""

    def __init__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        pass

    def __enter__(self) -> _Entered:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Stream(_Entered):
    """A stream on which everything has been done already."""

    device_index = priority = cuda_stream = stream_id = 0
    device_type = 1

    @property
    def device(self) -> torch.device:
        """The device that was asked for."""
        return torch.device("cuda", 0)

    def query(self) -> bool:
        """Whether all is done."""
        return True

    def record_event(self, event: Event | None = None) -> Event:
        """Return the event, or a new one, recorded now."""
        recorded = event or Event()
        recorded.record()
        return recorded

    def synchronize(self, *_: object) -> None:
        """Wait for nothing."""

    wait_event = wait_stream = synchronize


class Event:
    """A moment on the CPU."""

    def __init__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        self._at = time.perf_counter()

    def record(self, *_: object) -> None:
        """Take this moment."""
        self._at = time.perf_counter()

    def query(self) -> bool:
        """Whether it is over."""
        return True

    def elapsed_time(self, end: Event) -> float:
        """Return the milliseconds until another one."""
        return 1000 * (end._at - self._at)

    def synchronize(self, *_: object) -> None:
        """Wait for nothing."""

    wait = synchronize


class _Silent:
    """Any method of it can be called and gives 0: a captured graph, the CUDA runtime with its profiler."""

    def __init__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        pass

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: 0


class _TellingStream(Stream):
    def __init__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        told()


class _TellingContext(_Entered):
    def __init__(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        told()
