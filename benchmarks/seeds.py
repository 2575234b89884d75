"""The options of the benchmarks that make each case of a seed."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable

import torch


def seeds_asked(description: str, case: str) -> tuple[Iterable[int], bool]:
    """Read the command line, and return the seeds and whether all that is found is to be printed.

    Args:
        description: of the benchmark, one line.
        case: what a seed makes: ``network``.

    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--n", type=int, default=2000, help=f"{case}s")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help=f"one {case} alone, with all that was found")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    alone = asked.seed is not None
    return ([asked.seed] if alone else range(asked.first, asked.first + asked.n)), alone
