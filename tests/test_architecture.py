"""Who may import whom, and which commands stay without torch."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bnguard"
FACTS = {"bnguard.errors", "bnguard.facts", "bnguard.loader_facts", "bnguard.forecast_facts", "bnguard.findings"}
WITHOUT_TORCH = (
    "classify", "diagnosis", "evidence", "logfile", "logs", "logtext", "module_path", "ranks", "script", "supervise",
)  # fmt: skip
BEFORE_THE_SCRIPT = ("launch", "outcome", "gather", "stop", "processes", "evaluating")
CHECKING_WITHOUT_TORCH = (
    "assemble", "config", "declared", "init", "jobs", "keys", "locate", "pool", "run", "sources", "streams", "table",
)  # fmt: skip
PURE = {"bnguard.rules", "bnguard.report"}
OTHER_ROOMS = sorted(path.stem for path in PACKAGE.iterdir() if path.stem.isidentifier() and path.stem != "_sandbox")


def imports(path: Path) -> set[str]:
    """Every module of ours that the file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
    return found


def files(place: str) -> list[Path]:
    path = PACKAGE / place
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def uses(path: Path, *packages: str) -> set[str]:
    return {i for i in imports(path) for p in packages if i == p or i.startswith(f"{p}.")}


@pytest.mark.parametrize(
    ("place", "forbidden"),
    [
        ("errors.py", ["bnguard.", "torch", "rich", "typer"]),
        ("facts.py", ["bnguard.model", "bnguard.loader", "bnguard.rules", "bnguard.report", "torch", "rich", "typer"]),
        (
            "forecast_facts.py",
            ["bnguard.model", "bnguard.loader", "bnguard.rules", "bnguard.report", "torch", "rich", "typer"],
        ),
        (
            "findings.py",
            ["bnguard.model", "bnguard.loader", "bnguard.rules", "bnguard.report", "torch", "rich", "typer"],
        ),
        ("rules", ["bnguard.model", "bnguard.loader", "bnguard.report", "bnguard.cli", "torch", "rich", "typer"]),
        ("report", ["bnguard.model", "bnguard.loader", "bnguard.cli", "torch", "typer"]),
        ("model", ["bnguard.loader", "bnguard.forecasting", "bnguard.report", "bnguard.cli", "rich", "typer"]),
        ("loader", ["bnguard.model", "bnguard.forecasting", "bnguard.report", "bnguard.cli", "typer"]),
        ("forecasting", ["bnguard.runtime", "bnguard.report", "bnguard.cli", "rich", "typer"]),
        ("runtime", ["bnguard.loader", "bnguard.cli", "typer"]),
        ("runtime", ["bnguard.loader", "bnguard.report", "bnguard.cli", "rich", "typer"]),
        ("rehearsal", ["bnguard.report", "bnguard.cli", "rich", "typer"]),
        *[(f"rehearsal/{name}.py", ["torch", "bnguard.model", "bnguard.loader"]) for name in BEFORE_THE_SCRIPT],
        ("_sandbox", ["torch", "rich", "typer", *(f"bnguard.{name}" for name in OTHER_ROOMS)]),
        ("repair", ["bnguard.runtime", "bnguard.report", "bnguard.cli", "rich", "typer"]),
        *[(f"{room}", ["bnguard.repair"]) for room in ("rules", "report", "model", "loader", "runtime")],
        *[(f"runtime/{name}.py", ["torch"]) for name in WITHOUT_TORCH],
        ("edit", ["bnguard.model", "bnguard.report", "bnguard.rules", "bnguard.cli", "torch", "rich", "typer"]),
        ("wholefile.py", ["bnguard.", "torch", "rich", "typer"]),
        ("checking", ["bnguard.runtime", "bnguard.repair", "bnguard.cli", "rich", "typer"]),
        *[(room, ["bnguard.checking"]) for room in ("rules", "report", "model", "loader", "forecasting", "runtime")],
        *[(f"checking/{name}.py", ["torch", "bnguard.model"]) for name in CHECKING_WITHOUT_TORCH],
        ("usercode.py", ["bnguard.model", "bnguard.loader", "bnguard.rules", "bnguard.report", "rich", "typer"]),
    ],
)
def test_nothing_flows_back(place: str, forbidden: list[str]) -> None:
    for path in files(place):
        assert not uses(path, *forbidden), path


def test_only_the_console_reporter_knows_rich() -> None:
    draws = ("console", "page.py", "symbols.py", "catalogue.py", "progress.py", "terminal.py")
    for path in PACKAGE.rglob("*.py"):
        if uses(path, "rich"):
            assert path.parent.name == "report", path
            assert path.name.startswith(draws), path


def test_reporters_read_the_report_and_the_catalogue_alone() -> None:
    allowed = {
        *FACTS,
        "bnguard",
        "bnguard.__version__",
        "bnguard.rules",
        "bnguard.rules.CATALOGUE",
        "bnguard.rules.Rule",
    }
    writing = {"bnguard.wholefile", "bnguard.wholefile.write_whole"}
    for path in files("report"):
        for name in uses(path, "bnguard"):
            own = name.startswith("bnguard.report") or name in allowed or name.rpartition(".")[0] in FACTS
            assert own or (path.name == "render.py" and name in writing), (path, name)


def test_only_the_page_knows_jinja() -> None:
    assert [p.name for p in PACKAGE.rglob("*.py") if uses(p, "jinja2", "markupsafe")] == ["html.py"]


def test_jinja_is_imported_for_a_page_alone() -> None:
    script = (
        "import sys; from bnguard.cli.app import run;"
        "run(['audit-loader', '--n', '9', '--bs', '8', '--format', sys.argv[1]]);"
        "print('jinja2' in sys.modules, 'torch' in sys.modules, file=sys.stderr)"
    )
    for fmt, seen in (("json", "False False"), ("html", "True False")):
        result = subprocess.run([sys.executable, "-c", script, fmt], capture_output=True, cwd=ROOT, check=True)
        assert result.stderr.decode().splitlines()[-1] == seen


def test_only_the_room_that_edits_knows_libcst() -> None:
    for path in PACKAGE.rglob("*.py"):
        if uses(path, "libcst"):
            assert path.parent.name == "edit", path


def test_private_parts_of_torch_stand_behind_one_file() -> None:
    pattern = re.compile(r"torch(?:\.[a-zA-Z_]\w*)*\._[a-zA-Z]|from torch[\w.]*\._|import _[a-z]")
    rooms = ("model", "forecasting", "runtime", "repair", "rehearsal")
    for path in (p for room in rooms for p in (PACKAGE / room).rglob("*.py")):
        if path.name != "private.py":
            assert not pattern.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--help"], 0), (["--version"], 0), (["rules"], 0), (["explain", "BN101"], 0), (["scan", "--help"], 0),
        (["audit-loader", "--n", "9", "--bs", "8"], 1), (["explain", "nonsense"], 2), (["scan", "--bogus"], 2),
        (["explain-error", "tests/fixtures/logs/one_value.txt"], 0), (["explain-error", "missing.log"], 2),
        (["fix", "examples/resnet18_gradcam.py"], 0), (["fix", "missing.py"], 2), (["fix", "--help"], 0),
        (["run", "--help"], 0), (["run", "missing.py"], 2),
        (["preflight", "--help"], 0), (["preflight", "missing.py"], 2), (["preflight", "tests/fixtures/trains.py"], 1),
        (["check", "--help"], 0), (["check", "--config", "missing.toml"], 2),
        (["check", "--config", "pyproject.toml"], 2),
    ],
)  # fmt: skip
def test_these_commands_never_import_torch(argv: list[str], code: int) -> None:
    script = (
        "import sys, json; from bnguard.cli.app import run; code = run(sys.argv[1:]); sys.stdout.flush();"
        "print(json.dumps([code, 'torch' in sys.modules, 'numpy' in sys.modules]), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *argv], capture_output=True, text=True, cwd=ROOT, check=False
    )
    last = json.loads(result.stderr.splitlines()[-1])
    assert last == [code, False, False], result.stderr


def test_importing_bnguard_does_not_import_torch() -> None:
    script = "import sys, bnguard; dir(bnguard); bnguard.Report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_the_public_names_are_there() -> None:
    import bnguard

    for name in bnguard.__all__:
        assert getattr(bnguard, name) is not None
    with pytest.raises(AttributeError):
        bnguard.nonsense  # noqa: B018
