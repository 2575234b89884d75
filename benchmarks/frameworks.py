"""Does bnguard give the right answer inside the frameworks that people train with? A table: framework × use.

Each script of ``framework_scripts/`` trains with one framework, and a last batch of one sample stops it in a BatchNorm
layer. Every cell is a process of its own, held against what the script really does without bnguard: the layer and the
step that stop it, its traceback, and the rows that an epoch would show if PyTorch let that batch pass.

    python benchmarks/frameworks.py                                   # all that is installed, about 10 minutes
    python benchmarks/frameworks.py --only hydra_app --only click_app
    python benchmarks/frameworks.py --json all.json --markdown docs/frameworks.md
    python benchmarks/frameworks.py --only fastai_learner --json all.json --markdown docs/frameworks.md  # one anew
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "benchmarks/framework_scripts"
TIMEOUT = 600
"""Seconds for one process."""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
PLACES = re.compile(r'(?:File "([^"]+)", line (\d+), in (\S+))|(?:(\S+\.py):(\d+) in (\S+))')
"""Frames of a traceback, as Python and as rich write them."""
LAYER = re.compile(r"^(?:\[rank\d+\]: )?bnguard: (\S+)(?: \(\w+\(|$)", re.MULTILINE)
"""What a diagnosis begins with; torch puts the rank before what ends a process of several."""


@dataclass(frozen=True)
class Row:
    """A script, the framework that it shows, and the package of it, with its module where that has another name."""

    script: str
    framework: str
    form: str
    package: str
    module: str = ""
    arguments: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return SCRIPTS / f"{self.script}.py"

    def version(self) -> str | None:
        """Return the installed version, None where it is missing."""
        if importlib.util.find_spec(self.module or self.package) is None:
            return None
        return importlib.metadata.version(self.package)


SAMPLES = ("--samples=17",)
HYDRA = ("+samples=17", "hydra.run.dir=.", "hydra.output_subdir=null")
ROWS = (
    Row("lightning_fit", "Lightning", "fit", "lightning"),
    Row("lightning_datamodule", "Lightning", "DataModule", "lightning"),
    Row("lightning_cli", "Lightning", "LightningCLI", "lightning", "jsonargparse"),
    Row("lightning_ddp", "Lightning", "DDP, two gloo processes", "lightning"),
    Row("transformers_trainer", "Transformers", "Trainer", "transformers"),
    Row("accelerate_one", "Accelerate", "one process", "accelerate"),
    Row("accelerate_two", "Accelerate", "torchrun, two processes", "accelerate", launch=TORCHRUN),
    Row("torchrun_ddp", "torch", "torchrun, DDP, two gloo processes", "torch", launch=TORCHRUN),
    Row("torchvision_reference", "torchvision", "style of its references", "torchvision"),
    Row("fastai_learner", "fastai", "Learner", "fastai"),
    Row("ignite_trainer", "Ignite", "supervised trainer", "pytorch-ignite", "ignite"),
    Row("skorch_classifier", "skorch", "NeuralNetClassifier", "skorch"),
    Row("timm_prefetcher", "timm", "create_loader", "timm"),
    Row("ultralytics_loader", "ultralytics", "InfiniteDataLoader, own loop", "ultralytics"),
    Row("ultralytics_trainer", "ultralytics", "ClassificationTrainer", "ultralytics"),
    Row("pyg_graph_object", "PyG", "model(data)", "torch-geometric", "torch_geometric"),
    Row("pyg_plain_arguments", "PyG", "model(x, edge_index, batch)", "torch-geometric", "torch_geometric"),
    Row("pyg_nodes", "PyG", "BatchNorm on nodes", "torch-geometric", "torch_geometric"),
    Row("monai_unet", "MONAI", "UNet", "monai"),
    Row("smp_deeplab", "segmentation_models_pytorch", "DeepLabV3", "segmentation_models_pytorch"),
    Row("metric_learning", "PyTorch Metric Learning", "miner", "pytorch-metric-learning", "pytorch_metric_learning"),
    Row("webdataset_samples", "webdataset", "samples, DataLoader batches", "webdataset"),
    Row("webdataset_batched", "webdataset", "batched pipeline", "webdataset"),
    Row("webdataset_webloader", "webdataset", "WebLoader with stages", "webdataset"),
    Row("hydra_app", "Hydra", "hydra.main", "hydra-core", "hydra", arguments=HYDRA),
    Row("click_app", "click", "command", "click", arguments=SAMPLES),
    Row("typer_app", "typer", "app", "typer", arguments=SAMPLES),
    Row("fire_app", "fire", "Fire", "fire", arguments=SAMPLES),
)


# --------------------------------------------------------------------------------------------------- running a script


class Ran(NamedTuple):
    """What a process left: exit code, what it wrote, and what each rank noted."""

    code: int
    out: str
    err: str
    notes: list[dict[str, Any]]


INSIDE = ("plain", "reference", "guard", "forecast", "merge_tail", "allow_single_sample")
"""What a script is asked to do by itself; the other uses are commands."""


def run_all(row: Row, uses: Iterable[str]) -> dict[str, Ran]:
    """Run the script in each of the uses, by name: ``plain``, ``reference`` and those of ``USES``."""
    wanted = list(uses)
    inside = [use for use in INSIDE if use in wanted]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not row.launch:
            _process([str(FORKED), name, ",".join(inside), str(row.path), *row.arguments], folder, "forked")
        for use in wanted:
            command = [] if use in INSIDE else ["-m", "bnguard", use]
            command += ["--format", "json"] if use == "preflight" else []
            if row.launch or use not in INSIDE:
                _process([*row.launch, *command, str(row.path), *row.arguments], folder, use)
        return {use: _ran(folder, use) for use in wanted}


FORKED = SCRIPTS / "_forked.py"


def _process(command: list[str], folder: Path, use: str) -> None:
    """Run a process of Python in an empty folder; what it does is written down as ``_forked.py`` does."""
    environment = {k: v for k, v in os.environ.items() if k not in {"RANK", "LOCAL_RANK", "WORLD_SIZE"}}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"COLUMNS": "300", "YOLO_CONFIG_DIR": str(folder), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    if use in INSIDE:
        environment |= {"FRAMEWORK_USE": use, "FRAMEWORK_NOTES": str(folder / f"{use}.notes")}
    work = folder / f"work of {use}"
    work.mkdir()
    with (folder / f"{use}.out").open("w") as out, (folder / f"{use}.err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=TIMEOUT * (len(INSIDE) if use == "forked" else 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    (folder / f"{use}.code").write_text(str(code), encoding="utf-8")
    if use == "forked" and code:
        sys.exit((folder / "forked.err").read_text("utf-8"))


def _ran(folder: Path, use: str) -> Ran:
    code, out, err = ((folder / f"{use}.{name}").read_text("utf-8", "replace") for name in ("code", "out", "err"))
    return Ran(int(code), out, err, [json.loads(p.read_text("utf-8")) for p in sorted(folder.glob(f"{use}.notes.*"))])


# ------------------------------------------------------------------------------------------------ what really happens


@dataclass(frozen=True)
class Truth:
    """What the script does without bnguard: where it stops, and what an epoch would show."""

    layers: tuple[str, ...]
    step: int | None
    error: str
    places: frozenset[tuple[str, ...]]
    rows: frozenset[str]

    @property
    def own_refusal(self) -> bool:
        """Whether the framework refuses to train, in words of its own, before a layer does."""
        return not self.layers


def truth_of(row: Row, plain: Ran, reference: Ran) -> Truth:
    failed = [note for note in plain.notes if "error" in note]
    if plain.code == 0 or not failed or (reference.code != 0 and "layers" in failed[0]):
        sys.exit(f"{row.script} does not do what it is here for:\n{plain.err[-2000:]}\n{reference.err[-2000:]}")
    first = min(failed, key=lambda note: note.get("step") or 10**9)
    layers = tuple(dict.fromkeys(map(unwrapped, first.get("layers", ()))))
    return Truth(layers, first.get("step"), first["error"], places(plain.err), rows(reference))


def unwrapped(layer: str) -> str:
    """Return a layer's name without that of DistributedDataParallel, which a report leaves out."""
    return layer.removeprefix("module.")


def places(text: str) -> frozenset[tuple[str, ...]]:
    """Return the frames of all tracebacks in a text, but for those that the ways of running a script add or change."""
    found = {tuple(part for part in match if part) for match in PLACES.findall(text)}
    others = ("_use.py", "_forked.py", "runpy>", "torch/nn/modules/module.py")
    return frozenset(place for place in found if not place[0].endswith(others))


def rows(ran: Ran) -> frozenset[str]:
    return frozenset(row for note in ran.notes for row in note.get("rows", ()))


# ------------------------------------------------------------------------------------------------------- the six uses


@dataclass(frozen=True)
class Cell:
    """One answer: right, refused, or wrong, and what was said or is wrong."""

    outcome: str
    text: str = ""


RIGHT = Cell("right")


def preflight(ran: Ran, truth: Truth) -> Cell:
    try:
        report = json.loads(ran.out)
    except json.JSONDecodeError:
        return _own_refusal(ran, truth) or Cell("wrong", f"exit code {ran.code}: {_last_line(ran.err)}")
    if truth.own_refusal and ran.code == 1 and any(f["code"] == "RT101" for f in report["findings"]):
        return RIGHT
    return _place([report], truth) if ran.code in (1, 2) else Cell("wrong", f"exit code {ran.code}")


def forecast(ran: Ran, truth: Truth) -> Cell:
    if ran.code != 0 or not ran.notes:
        return Cell("wrong", f"exit code {ran.code}: {_last_line(ran.err)}")
    cell = _place([note["report"] for note in ran.notes], truth)
    if cell.outcome != "refused":
        return cell
    other = _place([note["other"] for note in ran.notes if note["other"]], truth)
    way = ran.notes[0]["way"]
    return (
        Cell("refused", f"{cell.text} → `{way}` is right") if other == RIGHT else Cell("wrong", f"{way}: {other.text}")
    )


def _place(reports: list[dict[str, Any]], truth: Truth) -> Cell:
    """Compare step and layer of what is foreseen; nothing else may be said to stop."""
    forecasts = [f for report in reports for f in report["forecasts"]]
    stops = [f for f in forecasts if f["stops"]]
    if stops and all(f["step"] == truth.step and f["layer"] in truth.layers for f in stops):
        return RIGHT
    if stops and truth.own_refusal:  # nobody comes to the layer
        return RIGHT
    unknown = [f.get("reason") or f.get("unknown") for f in forecasts if f["stops"] is None]
    if not stops and unknown:
        return Cell("refused", "not known: " + "; ".join(dict.fromkeys(map(str, unknown))))
    told = ", ".join(f"{f['layer']} at step {f['step']}" for f in stops) or "nothing stops"
    return Cell("wrong", f"{told}; really {'/'.join(truth.layers)} at step {truth.step}")


def under_run(ran: Ran, truth: Truth) -> Cell:
    named = {unwrapped(name) for name in LAYER.findall(ran.err)}
    if truth.own_refusal:
        return RIGHT if "RT101" in ran.err and truth.places <= places(ran.err) else Cell("wrong", "no diagnosis")
    if not named or not named <= set(truth.layers):
        return Cell("wrong", f"names {', '.join(sorted(named)) or 'no layer'}; really {'/'.join(truth.layers)}")
    other = truth.places ^ places(ran.err)
    return Cell("wrong", f"another traceback: {sorted(other)[:3]}") if other else RIGHT


def guard(ran: Ran, truth: Truth) -> Cell:
    named = {note["layer"] for note in ran.notes if note.get("layer")}
    if truth.own_refusal:
        return RIGHT if "RT101" in ran.err else Cell("wrong", "no diagnosis")
    if named and named <= set(truth.layers) and ran.code:
        return RIGHT
    return Cell("wrong", f"names {', '.join(sorted(named)) or 'no layer'}; really {'/'.join(truth.layers)}")


def trains_through(ran: Ran, truth: Truth) -> Cell:
    if ran.code != 0:
        return _own_refusal(ran, truth) or Cell("wrong", f"exit code {ran.code}: {_last_line(ran.err)}")
    if rows(ran) != truth.rows:
        return Cell("wrong", f"{len(truth.rows - rows(ran))} of {len(truth.rows)} rows are lost")
    refused = [note for note in ran.notes if "refused" in note]
    return Cell("refused", _with_hint(refused[0]["refused"], refused[0]["hint"])) if refused else RIGHT


def _own_refusal(ran: Ran, truth: Truth) -> Cell | None:
    """Accept that the framework itself refuses to train: it says what to do in its own line."""
    return Cell("refused", f"by the framework: {truth.error}") if truth.own_refusal and truth.error in ran.err else None


def _with_hint(text: str, hint: str | None) -> str:
    return " ".join(text.split()) + (f" → {' '.join(hint.split())}" if hint else "")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing on stderr"])[-1][:200]


USES: dict[str, Callable[[Ran, Truth], Cell]] = {
    "preflight": preflight,
    "run": under_run,
    "guard": guard,
    "forecast": forecast,
    "merge_tail": trains_through,
    "allow_single_sample": trains_through,
}


# ------------------------------------------------------------------------------------------------------- the table

PAGE = """# Inside frameworks

`python benchmarks/frameworks.py --markdown docs/frameworks.md` trains with each framework until a last batch of one
sample stops it in a BatchNorm layer, and asks bnguard in six ways. Each cell is a process of its own, held
against what the [script](../benchmarks/framework_scripts) really does without bnguard. {versions}.

- **preflight**, **forecast**: the layer and the step are those at which the script really stops.
- **run**, **guard**: the layer is named; under `bnguard run` the traceback has the frames of the plain one.
- **merge_tail**, **allow_single_sample**: the training runs through, and the model gets every row that an epoch holds.

✓ right · *refused*: one line, below, with the way that works (where it is another loader, the training ran through with
it) · ✗ wrong · . not installed

"""


def table(found: dict[str, dict[str, Any]]) -> str:
    lines = [f"| framework | version | form | {' | '.join(USES)} |", "|---" * (3 + len(USES)) + "|"]
    refusals: list[str] = []
    for row in ROWS:
        answers = found.get(row.script, {"version": None, "cells": {}})
        shown = []
        for use in USES:
            cell = answers["cells"].get(use)
            shown.append({"right": "✓", "refused": "refused", "wrong": "✗"}[cell["outcome"]] if cell else ".")
            if cell and cell["text"]:
                mark = "" if cell["outcome"] == "refused" else "✗ "
                refusals.append(f"- {mark}**{row.framework}**, {row.form}, {use}: {cell['text']}")
        lines.append(f"| {row.framework} | {answers['version'] or '.'} | {row.form} | {' | '.join(shown)} |")
    return "\n".join([*lines, *(["", "## Refused", "", *refusals] if refusals else [])]) + "\n"


def markdown(found: dict[str, dict[str, Any]]) -> str:
    versions = f"torch {importlib.metadata.version('torch')}, Python {sys.version.split()[0]}"
    return PAGE.format(versions=versions) + table(found)


def ask(row: Row) -> dict[str, Any]:
    """Return the version and the six cells of a row."""
    ran = run_all(row, ["plain", "reference", *USES])
    truth = truth_of(row, ran["plain"], ran["reference"])
    cells = {name: asdict(judge(ran[name], truth)) for name, judge in USES.items()}
    return {"version": row.version(), "truth": {"layers": truth.layers, "step": truth.step}, "cells": cells}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="a script of framework_scripts; repeat it")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time")
    parser.add_argument("--json", type=Path, help="write every answer here; with --only the others are kept")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    options = parser.parse_args()
    names = [row.script for row in ROWS]
    unknown = [name for name in options.only or () if name not in names]
    if unknown:
        sys.exit(f"no script is called {', '.join(unknown)}; there are {', '.join(names)}")
    asked = [row for row in ROWS if row.script in (options.only or names) and row.version()]
    keep = options.only and options.json and options.json.exists()
    found: dict[str, dict[str, Any]] = json.loads(options.json.read_text("utf-8")) if keep else {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for row, answers in zip(asked, pool.map(ask, asked), strict=True):
            found[row.script] = answers
            print(row.script, *(f"{use}={cell['outcome']}" for use, cell in answers["cells"].items()), flush=True)
            for use, cell in answers["cells"].items():
                if cell["text"]:
                    print(f"    {use}: {cell['text']}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(found), encoding="utf-8")
    return 1 if any(c["outcome"] == "wrong" for a in found.values() for c in a["cells"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
