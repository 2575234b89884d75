"""How long each format takes for a report of 10,000 layers and 10,000 findings.

The facts are made by hand, as a scan would return them: only the rendering is measured. Prints a table and exits with 1
where a format takes a second or more. ``python benchmarks/rendering.py [LAYERS]``.
"""

from __future__ import annotations

import statistics
import sys
import time

from bnguard._facts.findings import Report
from bnguard._facts.models import InputFact, LayerFact, ModelFact, NormCall, SourceLine
from bnguard._report.formats import FORMATS
from bnguard._report.render import render_as
from bnguard._rules import CATALOGUE

LIMIT = 1.0
RUNS = 3


def layer(i: int, failing: bool) -> LayerFact:
    shape = (1, 64, 1, 1) if failing else (1, 64, 7, 7)
    call = NormCall(shape, 1 if failing else 49, batch_statistics=True, raises=failing, backend="cudnn")
    name = f"stage{i // 1000}.block{i // 10 % 100}.norm{i % 10}"
    source = SourceLine(f"src/stage{i // 1000}.py", 10 + i % 300)
    verdict = "fails" if failing else "single-sample"
    return LayerFact(
        name, "BatchNorm2d", "batch", 64, True, True, True, 0.1, 1e-5, verdict,
        min_batch_size=2, source=source, calls=(call,), order=i,
    )  # fmt: skip


def report(layers: int) -> Report:
    """Return the report of a model whose every layer fails: a finding each."""
    made = tuple(layer(i, failing=True) for i in range(layers))
    inputs = (InputFact(None, (1, 3, 224, 224), "float32", "given"),)
    model = ModelFact("src/net.py:Net", "Net", 1, "train", inputs, "meta", made, first_failure=made[0].name)
    return Report("scan", models=(model,), findings=CATALOGUE.judge(models=(model,)), torch="2.14.1")


def seconds(fmt: str, of: Report) -> float:
    took = []
    for _ in range(RUNS):
        start = time.perf_counter()
        render_as(fmt, of, 1)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def main() -> None:
    made = report(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    print(f"{len(made.models[0].layers):,} layers, {len(made.findings):,} findings, median of {RUNS}")
    slow = []
    for fmt in FORMATS:
        took = seconds(fmt, made)
        size = len(render_as(fmt, made, 1)) / 2**20
        print(f"{fmt:10}{took * 1000:8.0f} ms{size:8.1f} MiB")
        slow += [fmt] if took >= LIMIT else []
    if slow:
        sys.exit(f"at or above {LIMIT} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
