"""Is there a CUDA device that can be used? Found out without CUDA being initialised in this process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

_SECONDS_FOR_THE_DRIVER = 60.0


def has_usable_device() -> bool:
    """Whether torch, which is imported, can use a CUDA device here; CUDA is not initialised in this process.

    ``torch.cuda.is_available()`` would do that: processes that are forked off later could not use CUDA then, and
    ``CUDA_VISIBLE_DEVICES`` could not be set any more.
    """
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return True
    if getattr(torch.version, "hip", None) is not None:
        return os.path.exists("/dev/kfd")  # noqa: PTH110 - a device
    version = torch.version.cuda
    return version is not None and _driver_answers(version.partition(".")[0], os.environ.get("CUDA_VISIBLE_DEVICES"))


_DRIVERS = {"win32": "nvcuda.dll", "linux": "libcuda.so.1"}

_ASK_DRIVER = """
import ctypes, sys
cuda, count, version = ctypes.CDLL(sys.argv[1]), ctypes.c_int(), ctypes.c_int()
failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or cuda.cuDriverGetVersion(ctypes.byref(version))
sys.exit(0 if not failed and count.value and version.value // 1000 >= int(sys.argv[2]) else 1)
"""


@functools.lru_cache(maxsize=4)
def _driver_answers(version: str, visible: str | None) -> bool:
    """Ask the driver in another process; where there is none to load, which is what most such machines are, at once."""
    driver = _DRIVERS.get(sys.platform)
    if driver is None or visible in ("", "-1") or not _can_be_loaded(driver):
        return False
    command = [sys.executable, "-I", "-S", "-c", _ASK_DRIVER, driver, version]
    try:
        return (
            subprocess.run(command, capture_output=True, timeout=_SECONDS_FOR_THE_DRIVER, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return True  # leave such a machine alone


def _can_be_loaded(library: str) -> bool:
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


_NO_DEVICE = ("Found no NVIDIA driver", "not compiled with CUDA", "CUDA driver version", "no CUDA GPUs are available")


def hint_for(error: BaseException, *, stands_in: bool) -> str | None:
    """Return what to do about an error that is due to a missing CUDA device; None for any other."""
    if not any(sign in str(error) for sign in _NO_DEVICE) or has_usable_device():
        return None
    if stands_in:
        return "the CPU cannot stand in for CUDA there: run it where there is a CUDA device"
    return "leave out --no-cuda-stand-in, and the CPU stands in for CUDA"
