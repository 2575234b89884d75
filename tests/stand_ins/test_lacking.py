"""What the user's code raised for want of something: one line that names it, and a hint with the option that helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest

from bnguard._errors import BnguardError
from bnguard._stand_ins.lacking import lacking, perhaps_lacking
from bnguard._stand_ins.packages import stubbed
from bnguard._usercode import shadowing

ROOT = Path(__file__).parents[2]


def raised(code: str, file: str = "train.py") -> Exception:
    """Run code as that of a user's file and return what it raises."""
    try:
        exec(compile(code, file, "exec"), {})
    except Exception as error:
        return error
    raise AssertionError


DATA = "from torchvision import datasets, transforms\n"


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (f"{DATA}datasets.MNIST('nowhere')", "the data set MNIST, which is not here", "--fake-data real"),
        (f"{DATA}datasets.CIFAR10('nowhere')", "the data set CIFAR10, which is not here", "--fake-data real"),
        (f"{DATA}datasets.ImageFolder('nowhere')", "the data set ImageFolder, which is not here", "--fake-data 1000"),
        (f"{DATA}datasets.ImageNet('nowhere')", "the data set ImageNet, which is not here", "--fake-data real"),
        (
            f"{DATA}class Mine(datasets.Food101):\n    pass\nMine('nowhere')",
            "the data set Food101, which is not here",
            "--fake-data real",
        ),
        ("import nowhere_at_all", "imports 'nowhere_at_all', which is not installed", "--stub nowhere_at_all"),
        (
            "from urllib.error import URLError\nraise URLError('no name')",
            "needs the network, and could not reach it: URLError: <urlopen error no name>",
            "where there is a network",
        ),
        (
            "raise AttributeError(\"'AbsentWeights' object has no attribute 'shape'\")",
            "computes with pretrained weights that could not be downloaded",
            "in the cache",
        ),
    ],
)
def test_what_is_not_here_is_named_with_a_way_on(code: str, message: str, hint: str) -> None:
    found = lacking(raised(code), "train.py")
    assert found is not None
    assert message in found.message
    assert found.message.startswith("train.py ")
    assert "\n" not in found.message
    assert hint in str(found.hint)


def test_a_command_without_fake_data_does_not_name_it() -> None:
    found = lacking(raised(f"{DATA}datasets.MNIST('nowhere')"), "model.py", fake_data=False)
    assert found is not None
    assert "--fake-data" not in str(found.hint)


@pytest.mark.parametrize(
    "code",
    [f"{DATA}datasets.MNIST('nowhere', trian=True)", f"{DATA}datasets.SVHN('x', split='none')", "1 / 0", "[][1]"],
)
def test_an_error_of_the_users_own_is_not_taken_for_something_else(code: str) -> None:
    assert lacking(raised(code), "train.py") is None
    assert perhaps_lacking(raised(code), "train.py") is None


def test_a_file_that_is_not_there() -> None:
    error = raised("import torch\ntorch.load('nowhere/best.pth')")
    found = perhaps_lacking(error, "the script")
    assert found is not None
    assert found.message == "the script asks for nowhere/best.pth, which is not there"
    assert str(Path.cwd()) in str(found.hint)


MEET_IT = {
    "a module": "import plots\n[1, 2][plots.size]",
    "a global": "from plots import limit\ndef f():\n    return [1, 2][limit]\nf()",
    "a variable": "import plots\ndef f(sizes):\n    return sum(sizes, []) + 1\nf([plots.size])",
    "an attribute": (
        "import plots\nclass Net:\n    def __init__(self):\n        self.head = plots.Head()\n"
        "    def run(self):\n        return [][self.head.size]\nNet().run()"
    ),
    "a base class": ("import plots\nclass Net(plots.Base):\n    def run(self):\n        return [][1]\nNet().run()"),
    "elements": "import plots\ndef f(x):\n    return 1 / 0\nf({'logger': plots.Logger()})",
}


@pytest.mark.parametrize("code", MEET_IT.values(), ids=MEET_IT)
def test_a_stand_in_may_be_the_cause_where_the_function_that_failed_has_one(code: str) -> None:
    with stubbed(["plots"]):
        found = perhaps_lacking(raised(code), "the script", ("plots", "apex"))
    assert found is not None
    assert "perhaps only because plots, apex is a stand-in" in found.message


def test_a_stand_in_is_not_blamed_for_what_fails_far_from_it() -> None:
    code = "import plots\ndef accuracy(k):\n    return [1, 2][k]\nlogger = plots.Logger()\naccuracy(5)"
    with stubbed(["plots"]):
        assert perhaps_lacking(raised(code), "the script", ("plots",)) is None


def test_what_needs_a_network_is_told() -> None:
    assert lacking(URLError("x"), "the script") is not None


def test_an_error_of_ours_stays_as_it_is() -> None:
    own = BnguardError("as it is")
    assert lacking(own, "the script") is own


# ------------------------------------------------------------------ files that are taken for a module

NET = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8))
loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=4)
"""
Bnguard = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bnguard(tmp_path: Path) -> Bnguard:
    def bnguard(*argv: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; sys.path.pop(0); from bnguard._cli.app import main; sys.argv[0] = 'bnguard'; main()"
        (tmp_path / "train.py").write_text(NET, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-c", code, *argv],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )

    return bnguard


OFTEN = ["tqdm", "random"]
SELDOM = ["queue", "numpy", "copy", "types", "enum", "json", "pickle", "dataclasses", "threading", "statistics", "code"]


@pytest.mark.parametrize("name", [*OFTEN, *(pytest.param(name, marks=pytest.mark.slow) for name in SELDOM)])
def test_a_file_that_is_taken_for_a_module_is_named(name: str, bnguard: Bnguard, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("value = 3\n", encoding="utf-8")
    real = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path[0] = '.'; import torch.utils.data"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    result = bnguard("preflight", "train.py")
    if real.returncode:
        assert result.returncode == 2
        *_, line, hint = result.stderr.splitlines()
        assert line.startswith(f"bnguard: {name}.py is taken for the module {name!r} that is needed (")
        assert hint.startswith("  hint: rename it")
    else:  # torch does without
        assert "taken for" not in result.stderr
        assert "without a training step" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("argv", [("run", "train.py"), ("scan", "train.py:Net"), ("audit-loader", "train.py:loader")])
def test_every_command_names_it_or_does_without(argv: tuple[str, ...], bnguard: Bnguard, tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("value = 3\n", encoding="utf-8")
    result = bnguard(*argv)
    if argv[0] == "run":  # as Python itself
        assert result.returncode == 1
        assert "bnguard: random.py is taken for the module 'random'" in result.stderr
        assert "hint: rename it" in result.stderr
    else:  # torch is imported before the folder is looked into
        assert result.returncode == 1, result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_library_that_comes_upon_it_later(bnguard: Bnguard, tmp_path: Path) -> None:
    (tmp_path / "tqdm.py").write_text("value = 3\n", encoding="utf-8")
    (tmp_path / "later.py").write_text("import torchvision.datasets\n" + NET, encoding="utf-8")
    for argv in (("scan", "later.py:Net"), ("audit-loader", "later.py:loader")):
        result = bnguard(*argv)
        assert "pip install" not in result.stderr
        if result.returncode == 2:
            assert "tqdm.py is taken for the module 'tqdm'" in result.stderr


def test_a_file_with_a_name_of_its_own_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_helpers_of_mine.py").write_text("value = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert shadowing(raised("from some_helpers_of_mine import nothing")) is None
    assert shadowing(raised("import some_helpers_of_mine\nsome_helpers_of_mine.nothing")) is None
    assert shadowing(raised("from json import nothing")) is None
