"""The house: who may import whom, what stands in one place alone, and which commands stay without torch."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bnguard"
ROOMS = (
    "_errors _whole_file _private_torch _untouched _usercode _source _import_torch _ranks",
    "_remedies _facts",
    "_rules",
    "_stand_ins",
    "_targets",
    "_models",
    "_trace",
    "_scan _audit_loader",
    "_forecast",
    "_diagnose",
    "_guard _explain_error",
    "repair _fix _run _sandbox",
    "_preflight",
    "_check",
    "_report",
    "_cli",
)
"""From the ground up: a room imports from those below its floor, and on the ground floor from those before it."""

NOT_WANTED = {
    "_report": {
        "_targets",
        "_models",
        "_trace",
        "_scan",
        "_audit_loader",
        "_forecast",
        "_diagnose",
        "repair",
        "_check",
    },
    "_rules": {"_untouched", "_private_torch"},
    "_forecast": {"repair"},
    "_trace": {"_rules"},
    "_models": {"_rules"},
    "_fix": {"_targets", "_models", "_trace", "_scan", "_forecast", "_rules"},
}
"""What a room does without though it stands below: a reporter reads the report, a trace has no opinion."""

MAKES_FINDINGS = {"_rules", "_facts"}
RULE_CODE = re.compile(r"\b(?:BN|DL|RT)[0-9]+\b")
MOST_LINES, MOST_FILES = 400, 12


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


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def rooms_of(path: Path) -> set[str]:
    """The rooms of bnguard that a file imports from."""
    return {room_of(name) for name in imports(path) if name.startswith("bnguard.") and room_of(name) in FLOOR}


FLOOR = {room: (i, j) for i, floor in enumerate(ROOMS) for j, room in enumerate(floor.split())}
HOUSE = [(path, room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))) for path in PACKAGE.rglob("*.py")]


def test_every_room_has_its_floor() -> None:
    assert {room for _, room in HOUSE} - {"__init__", "__main__"} == set(FLOOR)


@pytest.mark.parametrize(("path", "room"), [x for x in HOUSE if x[1] in FLOOR], ids=lambda x: str(x)[-40:])
def test_nothing_flows_back(path: Path, room: str) -> None:
    for other in rooms_of(path) - {room}:
        assert FLOOR[other] < FLOOR[room], (path, other)
        assert other not in NOT_WANTED.get(room, ()), (path, other)


def test_no_file_imports_its_own_importer() -> None:
    """Within a room as well: what a module imports when it is imported itself forms no circle."""
    names = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PACKAGE.rglob("*.py")
    }
    graph = {name: {i for i in at_import(path, names) if i in names and i != name} for name, path in names.items()}
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, sorted(graph)
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


def at_import(path: Path, modules: Collection[str]) -> set[str]:
    """What a file imports at once: not within functions, and not for types alone."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{a.name}" for a in node.names}
            found |= inner & set(modules) or {node.module}
    return found - {"bnguard"}


@pytest.mark.parametrize("path", [path for path, _ in HOUSE], ids=lambda x: str(x)[-40:])
def test_a_file_is_read_at_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_a_folder_is_seen_at_one_glance() -> None:
    for folder in {path.parent for path, _ in HOUSE}:
        assert len(list(folder.glob("*.py"))) <= MOST_FILES, folder


def test_codes_of_rules_stand_in_the_rules_alone() -> None:
    for path, room in HOUSE:
        if room != "_rules":
            assert not [t for t in texts(path) if RULE_CODE.search(t)], path


def texts(path: Path) -> list[str]:
    """Every text of a file that is no docstring and no explanation below a constant."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docs = {id(n.value) for n in nodes if isinstance(n, ast.Expr)}
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs]


SENTENCES = {
    "message",
    "fix",
    "detail",
    "does",
    "clause",
    "consequence",
    "headline",
    "summary",
    "unknown",
}
"""Attributes that hold what one part says to the reader: other parts pass them on, and never look into them."""

SURGERY = {
    "replace",
    "removeprefix",
    "removesuffix",
    "startswith",
    "endswith",
    "partition",
    "rpartition",
    "split",
    "index",
    "find",
}


@pytest.mark.parametrize(("path", "room"), [x for x in HOUSE if x[1] != "_facts"], ids=lambda x: str(x)[-40:])
def test_no_sentence_is_taken_apart(path: Path, room: str) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SURGERY:
            of = node.func.value
            assert not (isinstance(of, ast.Attribute) and of.attr in SENTENCES), (path, node.lineno)
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            within = node.comparators[-1]
            assert not (isinstance(within, ast.Attribute) and within.attr in SENTENCES), (path, node.lineno)


def test_only_the_console_reporter_knows_rich() -> None:
    draws = [path for path in PACKAGE.rglob("*.py") if uses(path, "rich")]
    assert {path.parent for path in draws} == {PACKAGE / "_report/formats/console"}


def test_only_the_page_knows_jinja() -> None:
    assert [p for p in files(".") if uses(p, "jinja2", "markupsafe")] == [PACKAGE / "_report/formats/html/__init__.py"]


def test_jinja_is_imported_for_a_page_alone() -> None:
    script = (
        "import sys; from bnguard._cli.app import run;"
        "run(['audit-loader', '--n', '9', '--bs', '8', '--format', sys.argv[1]]);"
        "print('jinja2' in sys.modules, 'torch' in sys.modules, file=sys.stderr)"
    )
    for fmt, seen in (("json", "False False"), ("html", "True False")):
        result = subprocess.run([sys.executable, "-c", script, fmt], capture_output=True, cwd=ROOT, check=True)
        assert result.stderr.decode().splitlines()[-1] == seen


def test_only_the_room_that_edits_knows_libcst() -> None:
    for path, room in HOUSE:
        if uses(path, "libcst"):
            assert room == "_fix", path


@pytest.fixture(scope="module")
def private_names() -> set[str]:
    """Every name with one underscore that the torch at hand has where bnguard has to do with it."""
    import torch
    from torch.utils.data import DataLoader

    model, loader = torch.nn.Linear(1, 1), DataLoader([0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    objects = [model, model.weight, torch.compile(model), optimizer, loader, iter(loader), (model.weight * 2).grad_fn]
    objects += [torch, torch._C, torch.cuda, torch.distributed, torch.hub, torch.jit, torch.compiler, torch.overrides]
    rooms = ("torch.nn", "torch.utils.data", "torch.optim", "torch.autograd", "torch._dynamo.config")
    objects += [module for name, module in sys.modules.items() if name.startswith(rooms)]
    objects += [v for m in objects if inspect.ismodule(m) for v in vars(m).values() if inspect.isclass(v)]
    parts = {part for name in sys.modules if name.startswith("torch.") for part in name.split(".")}
    names = parts.union(*map(dir, objects)) - set(dir(namedtuple("Plain", "")))
    return {name for name in names if re.fullmatch(r"_[A-Za-z]\w*", name)}


def private_uses(source: str, names: set[str]) -> set[str]:
    """Which of the names the source reads as an attribute, imports, or holds in a text that is no docstring."""
    nodes = list(ast.walk(ast.parse(source)))
    own = {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    own |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    docs = {id(n.value) for n in nodes if isinstance(n, ast.Expr)}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute):
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and node.attr in own
            found |= set() if mine else {node.attr}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None) or ""
            imported = "" if module.startswith("bnguard") else ".".join([module, *(a.name for a in node.names)])
            found |= set(imported.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found |= set(re.findall(r"\b_[A-Za-z]\w*", re.sub(r"\bbnguard[.\w]*", "", node.value)))
    return found & names


def test_private_parts_of_torch_stand_behind_one_file(private_names: set[str]) -> None:
    for path in PACKAGE.rglob("*.py"):
        if (
            "_private_torch" not in path.parts and path.name != "writers.py"
        ):  # the sandbox names what it wraps, and imports nothing
            assert not private_uses(path.read_text(encoding="utf-8"), private_names), path


@pytest.mark.parametrize(
    "source",
    [
        "module._modules", "vars(module)['_buffers']", "from torch._C import x", "import torch._dynamo",
        "name = '_orig_mod.'", "torch._foreach_add", "self._forward_hooks", "loader._iterator = None",
        "HOOKS = {'_forward_pre_hooks': 1}", "from torch.nn.modules.batchnorm import _BatchNorm",
        "node._raw_saved_self", "frame.f_code.co_name == '_call_impl'",
    ],
)  # fmt: skip
def test_a_private_part_of_torch_is_found(source: str, private_names: set[str]) -> None:
    assert private_uses(source, private_names)


@pytest.mark.parametrize(
    "source",
    [
        "self._mine", "'As ``_modules``.'", "from bnguard.repair import _parameters", "x._replace(a=1)",
        "class Own:\n    def __init__(self):\n        self._parameters = self._parameters",
    ],
)  # fmt: skip
def test_what_is_no_part_of_torch_is_not_found(source: str, private_names: set[str]) -> None:
    assert not private_uses(source, private_names)


def attributes(path: Path) -> set[str]:
    """Return every attribute and imported name that the file uses."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    imported = {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    return imported | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


@pytest.mark.parametrize(
    ("names", "place"),
    [
        ({"get_close_matches"}, "_errors.py"),
        ({"get_rank", "get_world_size"}, "_ranks.py"),
        ({"extract_tb", "format_tb", "tb_frame", "tb_next"}, "_usercode.py"),
        ({"getstate", "get_rng_state", "fork_rng", "redirect_stdout"}, "_untouched.py"),
    ],
)
def test_each_of_these_is_done_in_one_place(names: set[str], place: str) -> None:
    assert [p.name for p in PACKAGE.rglob("*.py") if names & attributes(p)] == [place]


MEASURE = {"each.py"}
"""What is called by tests and benchmarks alike, and tells how long it took."""


def test_no_test_reads_the_clock() -> None:
    """A machine may be as slow as it likes: speed is measured in benchmarks, a hang ends by pytest-timeout."""
    clocks = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns"}
    for path in (ROOT / "tests").rglob("*.py"):
        assert not clocks & attributes(path) or path.name in MEASURE, path


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
        "import sys, json; from bnguard._cli.app import run; code = run(sys.argv[1:]); sys.stdout.flush();"
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
