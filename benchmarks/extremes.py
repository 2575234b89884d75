"""How long the answers that need no torch take where numbers or texts are as large as they come.

An audit is closed arithmetic, so its time does not depend on how many samples or ranks there are; that of reading a log
grows as its length does. Prints a table and exits with 1 where a limit is reached: ``python benchmarks/extremes.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import bnguard
from bnguard.runtime.logs import diagnose_text

FAILED = """\
Traceback (most recent call last):
  File "/home/me/train.py", line 20, in <module>
    loss = model(x).sum()
  File "/venv/lib/python3.11/site-packages/torch/nn/functional.py", line 2800, in batch_norm
    _verify_batch_size(input.size())
ValueError: Expected more than 1 value per channel when training, got input size torch.Size([1, 64, 1, 1])
"""
RUNS = 5


def audited() -> object:
    return bnguard.audit_loader(n=10**15, batch_size=1000, world_size=4096, replicas=8)


def read(noise: str) -> Callable[[], object]:
    def work() -> object:
        found = diagnose_text(noise + FAILED)
        assert found is not None
        return found

    return work


CASES: dict[str, tuple[Callable[[], object], float]] = {
    "audit of 10^15 samples on 4,096 ranks of 8 replicas": (audited, 0.05),
    "log of 50,000 lines of a progress bar": (read("Epoch 1 12%|###   | 1/10 [00:01<00:02]\n" * 50_000), 5.0),
    "log with a line of 2,000,000 blanks": (read("|" + " " * 2_000_000 + "\n"), 5.0),
    "log with a line of 2,000,000 dots": (read("a." * 2_000_000 + "\n"), 5.0),
}
"""What is timed, and the seconds that it must stay below."""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    slow = []
    for what, (work, limit) in CASES.items():
        took = min(seconds(work) for _ in range(RUNS))
        print(f"{what:56}{took * 1000:10.2f} ms")
        slow += [what] if took >= limit else []
    if slow:
        sys.exit(f"too slow: {'; '.join(slow)}")


if __name__ == "__main__":
    main()
