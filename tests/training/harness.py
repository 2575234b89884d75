"""Runs a training script for real and says where it failed: by counting batches and reading the traceback, no more.

python harness.py OUTCOME SCRIPT [ARGS]

It knows nothing of bnguard, so that a forecast can be compared with it. The outcome is a JSON object: ``layer`` (the
dotted name of the innermost module in the traceback that is a normalisation layer), ``loader`` (the variable that holds
the loader, null without one), ``step`` (batches it had given in that pass), ``error``; or ``{}`` where the script ran
to its end.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)


class Counting:
    """A loader's iterator that counts; the latest to give a batch is the one that fed the model."""

    latest: Counting

    def __init__(self, iterator: Any, loader: DataLoader[Any]) -> None:
        self.iterator, self.loader, self.given = iterator, loader, 0

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> Any:
        batch = next(self.iterator)
        self.given += 1
        Counting.latest = self
        return batch

    def __len__(self) -> int:
        return len(self.iterator)


def count_batches() -> None:
    iterate = DataLoader.__iter__
    DataLoader.__iter__ = lambda self: Counting(iterate(self), self)  # type: ignore[assignment, method-assign, return-value]


def failed(error: BaseException) -> dict[str, object]:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [m for f in frames if isinstance(m := f.f_locals.get("self"), nn.Module)]
    layer = [m for m in modules if isinstance(m, NORMS)][-1]
    roots = [m for m in modules if any(part is layer for part in m.modules())]
    root = next(m for m in roots if not isinstance(m, DistributedDataParallel))
    name = next(n for n, part in root.named_modules() if part is layer)
    found: dict[str, object] = {"layer": name, "loader": None, "step": None, "error": type(error).__name__}
    if hasattr(Counting, "latest"):
        names = [n for f in frames for n, value in f.f_locals.items() if value is Counting.latest.loader]
        found |= {"loader": names[0] if names else None, "step": Counting.latest.given}
    return found


def main() -> None:
    place, script, *arguments = sys.argv[1:]
    outcome: dict[str, object] = {}
    count_batches()
    torch.manual_seed(0)
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:
        outcome = failed(error)
    except SystemExit as end:
        if end.code and end.__context__ is not None:  # the script has caught the error and given up
            outcome = failed(end.__context__)
    finally:
        Path(f"{place}{os.environ.get('RANK', '')}").write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main()
