"""Which batch_norm calls does this cuDNN refuse? A sweep on a real GPU.

Every combination of batch size, channels, spatial size, dtype, memory format and mode is called once, forward and (in
training) backward, and what raises is written down with the versions. Needs a CUDA device; about a minute.

    python benchmarks/cudnn_map.py                        # a table of what raised
    python benchmarks/cudnn_map.py --json docs/background/cudnn_map.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses

from bnguard._diagnose.classify import classify

BATCHES = (1, 2, 1024, 1025, 65_535, 65_536, 131_070, 131_071, 880_801, 880_802)
CHANNELS = (1, 64, 2048)
SPACES = ((), (1,), (1, 1), (7, 7), (224, 224), (1, 1, 1), (4, 4, 4))
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
FORMATS = ("contiguous", "channels_last", "strided")
MOST_BYTES = 2**31
LARGE = ((2, 64, 4096, 4096), (1, 1, 46_341, 46_341))
"""Above 2**31 - 1 elements; tried in float16 alone."""


@dataclass(frozen=True)
class Case:
    """One call: the input's shape, dtype and format, the parameters' dtype, the mode."""

    shape: tuple[int, ...]
    dtype: str
    param_dtype: str
    memory_format: str
    mode: str


def cases() -> Iterator[Case]:
    for n, c, space, dtype, fmt, mode in itertools.product(
        BATCHES, CHANNELS, SPACES, DTYPES, FORMATS, ("train", "eval")
    ):
        shape = (n, c, *space)
        if fmt == "channels_last" and len(space) < 2:
            continue
        if torch.Size(shape).numel() * dtype.itemsize * 2 <= MOST_BYTES:
            for param in {torch.float32, dtype} if dtype != torch.float64 else {dtype}:
                yield Case(shape, name(dtype), name(param), fmt, mode)
    for shape, mode in itertools.product(LARGE, ("train", "eval")):
        yield Case(shape, "float16", "float32", "contiguous", mode)


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def tensor(case: Case) -> torch.Tensor:
    dtype = getattr(torch, case.dtype)
    if case.memory_format == "strided":  # every second element of a larger tensor
        return torch.randn((*case.shape, 2), device="cuda", dtype=dtype)[..., 0]
    x = torch.randn(case.shape, device="cuda", dtype=dtype)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.dim()]) if case.memory_format == "channels_last" else x


def outcome(case: Case) -> str | None:
    """Return what the call raises, first line, or None."""
    try:
        x = tensor(case).requires_grad_(case.mode == "train")
        param = getattr(torch, case.param_dtype)
        zeros, ones = (f(case.shape[1], device="cuda", dtype=param) for f in (torch.zeros, torch.ones))
        out = F.batch_norm(x, zeros.clone(), ones.clone(), ones, zeros, case.mode == "train", 0.1, 1e-5)
        if case.mode == "train":
            out.sum().backward()
        torch.cuda.synchronize()
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("cudnn_map needs a CUDA device; this machine has none")
    versions = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "gpu": torch.cuda.get_device_name(),
    }
    print(", ".join(f"{k} {v}" for k, v in versions.items()))
    tried = [(case, outcome(case)) for case in cases()]
    raised = [asdict(case) | {"error": e, "cause": classify(e).cause} for case, e in tried if e is not None]
    print(f"{len(tried)} calls, {len(raised)} raise")
    for row in raised:
        if row["cause"] not in ("one-value-per-channel", "out-of-memory"):
            print(row["mode"], row["shape"], row["dtype"], row["param_dtype"], row["memory_format"], row["error"])
    if options.json:
        document = versions | {"calls": len(tried), "raised": raised}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
