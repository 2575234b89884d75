"""Does preflight say what a training script really does? Small scripts in many styles, each run and fast-forwarded.

The scripts are in ``corpus/STYLE/NAME.py``: user code of all kinds, which stops at a batch of one sample or does not.
What each does is in ``corpus/truth.json``; nobody typed it: ``--truth`` runs every script as it is, in a copy of its
folder, under ``recorder/`` (which knows nothing of bnguard) and writes down whether a normalisation layer stopped it,
which, and at which step. The benchmark then asks ``python -m bnguard preflight`` and compares.

    python benchmarks/scripts.py                        # all, about 20 minutes; --json FILE --resume goes on
    python benchmarks/scripts.py gan prefetch kfold/    # styles, or scripts by style/name
    python benchmarks/scripts.py --check-truth          # run the scripts again: is truth.json still true?
    PYTHONPATH=/another/tree python benchmarks/scripts.py --json other.json

A script may hold a line ``# arguments: --epochs 2``. One that imports a package that is not installed is left out.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "benchmarks/corpus"
TRUTH = CORPUS / "truth.json"
RECORDER = ROOT / "benchmarks/recorder"
TIMEOUT = 120
"""Seconds for one script, real or fast-forwarded."""
PAGE = """# Does preflight say what a script does?

`python benchmarks/scripts.py --markdown docs/scripts.md` fast-forwards each training script of `benchmarks/corpus`
through the command line and compares what is said with what each script really does. `benchmarks/corpus/truth.json`
holds the latter, written by `--truth`, which runs every script as it is under a recorder that knows nothing of
bnguard. torch {torch}, Python {python}.

*Right*: the exit code says whether the script stops, and step and layer are those of the real run. *Wrong ✓*: exit
code 0, though it stops. *False ✗*: exit code 1, though it runs. *Wrong place*: it stops, but at another step or in
another layer. *Not known* and *refused*: exit code 2, with a report or without one.
"""
OUTCOMES = ("right", "wrong ✓", "false ✗", "wrong place", "not known", "refused")
NOT_PRESENT = ("BNGUARD_RECORD", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Script:
    """One script of the corpus; its name is ``style/name``."""

    path: Path

    @property
    def style(self) -> str:
        return self.path.parent.name

    @property
    def name(self) -> str:
        return f"{self.style}/{self.path.stem}"

    @property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def digest(self) -> str:
        """Of the script and what lies in its folder beside other scripts, so that old truths are noticed."""
        digest = hashlib.sha256(self.path.read_bytes())
        for helper in sorted(p for p in self.path.parent.iterdir() if p.is_file() and is_helper(p)):
            digest.update(helper.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def arguments(self) -> list[str]:
        lines = (line for line in self.source.splitlines() if line.startswith("# arguments:"))
        return next(lines, ":").partition(":")[2].split()

    def missing(self) -> list[str]:
        """Name the packages that it imports, outside of any ``try``, and that are not installed."""
        found = set()
        for node in ast.parse(self.source).body:
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
        beside = {p.stem for p in self.path.parent.iterdir()}
        return sorted(m for m in found - beside if importlib.util.find_spec(m) is None)


def is_helper(path: Path) -> bool:
    """Whether a file lies there for a script to import or read; scripts do not begin with an underscore."""
    return path.suffix != ".py" or path.name.startswith("_")


def corpus(only: list[str] | None = None) -> list[Script]:
    """Every script, or those of the styles and names (``style/name``, or the start of one) that are asked for."""
    scripts = [Script(p) for p in sorted(CORPUS.glob("*/*.py")) if not is_helper(p)]
    wanted = [s for s in scripts if not only or any(s.style == o or s.name.startswith(o) for o in only if o)]
    if only and not wanted:
        sys.exit(
            f"no script of the corpus is {' or '.join(only)}; styles: {', '.join(sorted({s.style for s in scripts}))}"
        )
    return wanted


# Running one thing


def run(command: list[str], script: Script, paths: str, record: str | None = None) -> tuple[int | None, str, str]:
    """Run a command in a copy of the script's folder: exit code (None: it took too long), stdout, stderr."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(script.path.parent, Path(folder, "work"), ignore=shutil.ignore_patterns("__pycache__"))
        environment = {k: v for k, v in os.environ.items() if k not in NOT_PRESENT}
        environment |= {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"BNGUARD_RECORD": record} if record else {}
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return None, out, err
        return process.returncode, out, err


# What really happens


def really(script: Script) -> dict[str, Any]:
    """Run the script as it is and say what stopped it."""
    with tempfile.TemporaryDirectory() as folder:
        record = str(Path(folder, "record"))
        code, _, err = run([script.path.name, *script.arguments], script, str(RECORDER), record)
        events = [json.loads(line) for p in Path(folder).iterdir() for line in p.read_text("utf-8").splitlines()]
    if code is None:
        sys.exit(f"{script.name} ran for more than {TIMEOUT} s")
    truth: dict[str, Any] = {"source": script.digest, "stops": None}
    if code == 0:
        return truth
    ends = [e for e in events if e["event"] == "uncaught"]
    refusals = [e for e in events if e["event"] == "refused"]
    caused = [e for e in ends if e["normalisation"]]
    if not caused and (ends or not refusals):
        text = ends[-1]["text"] if ends else "\n".join(err.splitlines()[-1:])
        return truth | {"stops": "other", "error": text}
    last = {e["process"]: e for e in refusals}.values()  # of each process; a rank that fails first may end the others
    event = min(last or caused, key=lambda e: int(e["rank"]))
    kept = ("error", "layers", "type", "size", "loaders", "pass", "step", "fed")
    return truth | {"stops": "normalisation"} | {k: event.get(k) for k in kept}


def versions() -> dict[str, str]:
    code = "import torch; print(torch.__version__)"
    torch = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return {"torch": torch, "python": platform.python_version()}


def stored() -> dict[str, dict[str, Any]]:
    scripts: dict[str, dict[str, Any]] = (
        json.loads(TRUTH.read_text(encoding="utf-8"))["scripts"] if TRUTH.exists() else {}
    )
    return scripts


def write_truth(scripts: list[Script], jobs: int) -> int:
    """Write down what the given scripts do, and drop those that are gone."""
    present = {s.name for s in corpus()}
    known = {name: truth for name, truth in stored().items() if name in present}
    for script, truth in at_once(really, scripts, jobs):
        known[script.name] = truth
        store(known)
    kinds = Counter(str(known[s.name]["stops"]) for s in scripts)
    print(
        f"{len(scripts)} scripts: {kinds['normalisation']} stop in a normalisation layer, "
        f"{kinds['other']} for another reason, {kinds['None']} run"
    )
    return 0


def store(known: dict[str, dict[str, Any]]) -> None:
    """Write truth.json, a line for each script."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known))
    head = json.dumps(versions())[1:-1]
    TRUTH.write_text(f'{{{head}, "scripts": {{\n{lines}\n}}}}\n', encoding="utf-8")


def check_truth(scripts: list[Script], jobs: int) -> int:
    """Run the scripts again, and say where truth.json does not hold."""
    known, now = stored(), {s.name: truth for s, truth in at_once(really, scripts, jobs)}
    changed = sorted(name for name in now if known.get(name) != now[name])
    for name in changed:
        print(f"{name}: stored {known.get(name)}\n    now {now[name]}")
    print(f"{len(now) - len(changed)} of {len(now)} are as stored")
    return 1 if changed else 0


# What preflight says


@dataclass(frozen=True)
class Answer:
    """What preflight said of a script, held against the truth."""

    script: str
    style: str
    stops: str | None
    outcome: str
    code: int | None
    reason: str


def ask(script: Script, paths: str) -> tuple[int | None, dict[str, Any] | None, str]:
    command = ["-m", "bnguard", "preflight", "--format", "json", script.path.name]
    command += ["--", *script.arguments] if script.arguments else []
    code, out, err = run(command, script, paths)
    try:
        report = json.loads(out)
    except json.JSONDecodeError:
        report = None
    return code, report, err


def judge(script: Script, truth: dict[str, Any], paths: str) -> Answer:
    code, report, err = ask(script, paths)
    outcome, reason = verdict(truth, code, report, err)
    return Answer(script.name, script.style, truth["stops"], outcome, code, reason)


def verdict(truth: dict[str, Any], code: int | None, report: dict[str, Any] | None, err: str) -> tuple[str, str]:
    """Compare exit code, step and layer: one of OUTCOMES, and why where it is not right."""
    real = "runs to its end" if truth["stops"] is None else f"stops: {place_of(truth)}"
    last = (err.strip().splitlines() or ["nothing on stderr"])[-1][:200]
    if code not in (0, 1, 2):
        return "refused", "took too long" if code is None else f"exit code {code}: {last}"
    if truth["stops"] == "other":  # it fails for a reason of its own: a ✓ is wrong, to say that it fails is right
        return ("wrong ✓", f"exit 0; really {truth['error']}") if code == 0 else ("right", "")
    if code == 2:
        return ("refused", last) if report is None else ("not known", unknowns(report) or last)
    if report is None:
        return "refused", f"exit code {code} without a report: {last}"
    if truth["stops"] is None:
        return ("right", "") if code == 0 else ("false ✗", f"{said(report)}; really {real}")
    if code == 0:
        return "wrong ✓", f"{unknowns(report) or 'does not stop'}; really {real}"
    return ("right", "") if same_place(truth, report) else ("wrong place", f"{said(report)}; really {real}")


def same_place(truth: dict[str, Any], report: dict[str, Any]) -> bool:
    return any(same_layer(truth, s) and same_step(truth, s) for s in stopping(report))


def same_layer(truth: dict[str, Any], said: dict[str, Any]) -> bool:
    """Compare the layer's name in the model that was called, or in the module around it; a scripted layer has none."""
    return not truth["layers"] or _unwrapped(said["layer"]) in map(_unwrapped, truth["layers"])


def _unwrapped(layer: str | None) -> str | None:
    """Return a layer's name without those of DataParallel and torch.compile, which a report leaves out."""
    return layer and ".".join(part for part in layer.split(".") if part not in ("module", "_orig_mod"))


def same_step(truth: dict[str, Any], said: dict[str, Any]) -> bool:
    """Compare the step of the batch that fed the call. Where its input is not the batch itself, no step is fine too."""
    if truth["fed"] is None:  # rows of several batches: any step may be named
        return True
    return said["step"] == truth["step"] or (not truth["fed"] and said["step"] is None)


def stopping(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Where preflight says that the script stops: its forecasts, or findings where no forecast was made."""
    forecasts = [f for f in report["forecasts"] if f["stops"]]
    errors = [f for f in report["findings"] if f["severity"] == "error" and f["layer"] is not None]
    return forecasts or [{"layer": f["layer"], "step": f.get("step"), "loader": f["loader"]} for f in errors]


def place_of(truth: dict[str, Any]) -> str:
    if truth["stops"] == "other":
        return str(truth["error"])
    step = f"step {truth['step']}" + (f" of pass {truth['pass']}" if (truth["pass"] or 1) > 1 else "")
    return f"{'/'.join(truth['layers']) or '?'} at {step} of {'/'.join(truth['loaders']) or 'no loader'}"


def said(report: dict[str, Any]) -> str:
    stops = [f"{s['layer']} at step {s['step']} of {s['loader']}" for s in stopping(report)]
    codes = sorted({f["code"] for f in report["findings"] if f["severity"] == "error"})
    return "says " + ("; ".join(stops) or f"no place ({', '.join(codes)})")


def unknowns(report: dict[str, Any]) -> str:
    reasons = [
        f"{f['loader']}: {f.get('reason') or f.get('unknown')}" for f in report["forecasts"] if f["stops"] is None
    ]
    return "not known: " + "; ".join(reasons) if reasons else ""


# Reports


def table(answers: list[Answer]) -> Iterator[list[str]]:
    yield ["style", "scripts", "stop", *OUTCOMES]
    styles = sorted({a.style for a in answers})
    for style in [*styles, None]:
        of = [a for a in answers if style in (a.style, None)]
        counts = Counter(a.outcome for a in of)
        stop = sum(a.stops is not None for a in of)
        yield [style or "all", str(len(of)), str(stop), *(str(counts[o] or "") for o in OUTCOMES)]


def show(answers: list[Answer], left_out: list[str]) -> None:
    rows = list(table(answers))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
    for outcome in OUTCOMES[1:]:
        of = [a for a in answers if a.outcome == outcome]
        if of:
            print(f"\n{outcome}: {len(of)}")
        for a in of:
            print(f"  {a.script}: {a.reason}")
    for line in left_out:
        print(line)


def markdown(answers: list[Answer], left_out: list[str]) -> str:
    """Return the page of documentation: what was compared, the table by style, and every script that is not right."""
    rows = list(table(answers))
    cells = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    wrong = [f"- `{a.script}`: {a.outcome}. {a.reason}" for a in answers if a.outcome != "right"]
    notes = [*wrong, *(f"- {line}" for line in left_out)]
    return "\n".join([PAGE.format(**versions()), *lines, *(["", "## Not right", "", *notes] if notes else [])]) + "\n"


Result = TypeVar("Result")


def at_once(call: Callable[[Script], Result], scripts: list[Script], jobs: int) -> Iterator[tuple[Script, Result]]:
    """Call for each script, several at a time; give each result as it comes, and show on stderr how far it is."""
    with ThreadPoolExecutor(jobs) as pool:
        started = {pool.submit(call, script): script for script in scripts}
        for done, future in enumerate(as_completed(started), 1):
            script = started[future]
            print(f"\r{done}/{len(scripts)} {script.name:50}", end="", file=sys.stderr, flush=True)
            yield script, future.result()
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)


def import_paths() -> str:
    """Where bnguard is found: PYTHONPATH, made absolute since scripts run elsewhere; this tree without one."""
    given = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    return os.pathsep.join(str(Path(p).resolve()) for p in given or [str(ROOT)])


def compare(scripts: list[Script], options: argparse.Namespace) -> int:
    known, paths = stored(), import_paths()
    stale = [s.name for s in scripts if known.get(s.name, {}).get("source") != s.digest]
    if stale:
        sys.exit(f"no truth yet for {', '.join(stale)}: run with --truth first")
    missing = {s.name: s.missing() for s in scripts}
    code, out, err = run(["-c", "import bnguard; print(bnguard.__file__)"], scripts[0], paths)
    print(f"bnguard of {out.strip()}" if code == 0 else sys.exit(err), flush=True)
    found = {a.script: a for a in (answers_of(options.json) if options.resume else [])}
    todo = [s for s in scripts if not missing[s.name] and s.name not in found]
    for script, answer in at_once(lambda s: judge(s, known[s.name], paths), todo, options.jobs):
        found[script.name] = answer
        if options.json:
            document = [asdict(found[name]) for name in sorted(found)]
            options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    answers = [found[s.name] for s in scripts if s.name in found]
    left_out = [f"left out, not installed: {name} ({', '.join(m)})" for name, m in missing.items() if m]
    show(answers, left_out)
    if options.markdown:
        options.markdown.write_text(markdown(answers, left_out), encoding="utf-8")
    return 0 if all(a.outcome == "right" for a in answers) else 1


def answers_of(file: Path | None) -> list[Answer]:
    """Read the answers of a run that was cut short."""
    return [Answer(**a) for a in json.loads(file.read_text(encoding="utf-8"))] if file and file.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="STYLE", help="styles, or scripts as style/name")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--truth", action="store_true", help="run the scripts and write truth.json")
    parser.add_argument(
        "--new", action="store_true", help="with --truth: only scripts without a truth, or changed since"
    )
    parser.add_argument("--check-truth", action="store_true", help="run the scripts and compare with truth.json")
    parser.add_argument("--json", type=Path, help="write every answer here")
    parser.add_argument("--resume", action="store_true", help="go on with what the --json file holds")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    scripts = corpus(options.only)
    if options.truth:
        known = stored()
        scripts = [s for s in scripts if not options.new or known.get(s.name, {}).get("source") != s.digest]
        return write_truth(scripts, options.jobs)
    if options.check_truth:
        return check_truth([s for s in scripts if not s.missing()], options.jobs)
    return compare(scripts, options)


if __name__ == "__main__":
    sys.exit(main())
