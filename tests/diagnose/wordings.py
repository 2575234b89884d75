"""What cuDNN and PyTorch have said through the years, and a substitute that says it on a machine without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch

OLD = "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input."
NEW = (
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED_LAYOUT. This error may appear if you passed in a non-contiguous input.\n"
    "Exception raised from createCuDNNHandle"
)
VERY_OLD = "CUDNN_STATUS_NOT_SUPPORTED"
EXECUTION = "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"
ASSERT = (
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported at some other API "
    "call, so the stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 8.00 GiB total capacity)"


@contextmanager
def refusing(text: str, when: Callable[..., bool] = lambda x, cudnn: True) -> Iterator[None]:
    """Let ``torch.batch_norm`` raise this, as cuDNN would: only while cuDNN is enabled."""
    real = torch.batch_norm

    def batch_norm(x, weight, bias, mean, var, training, momentum, eps, cudnn):
        if when(x, cudnn):
            raise RuntimeError(text)
        return real(x, weight, bias, mean, var, training, momentum, eps, cudnn)

    with mock.patch.object(torch, "batch_norm", batch_norm):
        yield
