"""``bnguard scan`` as it is typed: exit codes, what goes to which stream, and every kind of bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnguard._cli.app import run

TARGETS = Path(__file__).parents[1] / "fixtures" / "targets"
HEAD = "import torch\nfrom torch import nn\n"
NET = (
    "class Net(nn.Module):\n  def __init__(self, width=4):\n    super().__init__()\n"
    "    self.bn = nn.BatchNorm1d(width)\n  def forward(self, x):\n    return self.bn(x)\n"
)


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line that says what is wrong."""
        (line,) = [x for x in self.err.splitlines() if x.startswith("bnguard: ")]
        return line.removeprefix("bnguard: ")

    @property
    def hint(self) -> str:
        return self.err.partition("\n  hint: ")[2]


Scan = Callable[..., Result]


@pytest.fixture
def scan(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scan:
    """Run the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def scan(*arguments: str) -> Result:
        code = run(["scan", *arguments])
        return Result(code, *capsys.readouterr())

    return scan


def write(text: str, name: str = "model.py", head: str = HEAD) -> None:
    Path(name).write_text(head + text, encoding="utf-8")


def shell(*arguments: str, cwd: Path) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "bnguard", "scan", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


# ------------------------------------------------------------------------------- a real process


def test_a_failing_layer_is_one(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(f"{HEAD}print('noise')\n{NET}")
    result = shell("model.py", "--input", "4", "--format", "json", cwd=tmp_path)
    assert result.code == 1
    report = json.loads(result.out)
    assert report["models"][0]["first_failure"] == "bn"
    assert report["models"][0]["layers"][0]["source"] == {"file": "model.py", "line": 7}
    assert result.err == "noise\n"


def test_nothing_wrong_is_zero_and_arguments_reach_the_file(tmp_path: Path) -> None:
    script = str(TARGETS / "arguments.py")
    result = shell(script, "--input", "6", "--bs", "8", "--ignore", "BN103", "--", "--width", "6", cwd=tmp_path)
    assert result.code == 0, result.err
    assert "Traceback" not in result.err


def test_a_request_that_cannot_be_carried_out_is_two(tmp_path: Path) -> None:
    result = shell("model.py:Net", cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.message == "there is no file model.py"
    assert "Traceback" not in result.err


def test_an_interrupt_is_130(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise KeyboardInterrupt")
    result = shell("model.py", cwd=tmp_path)
    assert result.code == 130
    assert "bug in bnguard" not in result.err


# ------------------------------------------------------------------------------------- bad input


BAD_FILES: dict[str, tuple[str, str, str]] = {
    "syntax": ("def f(:", "model.py is not valid Python, line 3", "mend the line"),
    "missing package": (
        "import no_such_package",
        "imports 'no_such_package', which is not installed",
        "--stub no_such",
    ),
    "no model": ("x = 3", "model.py has no model", "model.py:build_model"),
    "needs arguments": (
        NET.replace("=4", ""),
        "no model in model.py can be built without arguments",
        "bnguard scan model.py:Net --set width=…",
    ),
    "constructor": (NET.replace("width)", "'[red]x[/]')"), "model.py raised TypeError", "the fault is in the file"),
    "trains": (
        "w = torch.ones(1, requires_grad=True)\n(w * 2).backward()",
        "model.py starts to train when it is loaded (model.py, line 4: (w * 2).backward())",
        "__main__",
    ),
    "sys.exit": ("import sys\nsys.exit('bye')", "ends the program when it is loaded (sys.exit('bye'))", "after `--`"),
    "argparse": (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('x')\np.parse_args()",
        "ends the program when it is loaded (sys.exit(2))",
        "after `--`",
    ),
    "recursion": ("def f(): f()\nf()", "model.py recurses without end", "the fault is in the file"),
    "torchvision": (
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "torchvision does not match the installed torch",
        "pip install --force-reinstall torch torchvision",
    ),
    "huge layer": (NET.replace("=4", f"={10**18}"), "model.py raised", "the fault is in the file"),
    "huge number": (NET.replace("=4", f"={10**30}"), "model.py raised", "the fault is in the file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_at_fault(scan: Scan, name: str) -> None:
    source, message, hint = BAD_FILES[name]
    write(source)
    result = scan("model.py")
    assert (result.code, result.out) == (2, "")
    assert message in result.message
    assert hint in result.hint
    assert "Traceback (most recent call last)" not in result.err
    assert "/bnguard/" not in result.err
    assert "/torch/nn" not in result.err


def test_the_users_traceback_is_shown_as_it_is(scan: Scan) -> None:
    write(NET.replace("width)", "'[red]x[/]')"))
    result = scan("model.py:Net")
    assert result.err.startswith("Traceback (your frames only):\n")
    assert "self.bn = nn.BatchNorm1d('[red]x[/]')" in result.err


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"# \xe9\n", b"\x7fELF\x02\x01\x00", b""])
def test_a_file_that_is_no_python(scan: Scan, content: bytes) -> None:
    Path("model.py").write_bytes(content)
    result = scan("model.py")
    assert (result.code, result.out) == (2, "")
    assert "model.py" in result.message
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["modle.py"], "there is no file modle.py", "did you mean model.py?"),
        (["folder"], "folder is a folder", "name a file in it"),
        (["model.py:Ne"], "model.py has no 'Ne'", "did you mean Net?"),
        (["model.py:net"], "model.py has no 'net'", "did you mean Net?"),
        (["model.py:Net("], "is not a Python expression", "model.py:Net(3)"),
        (["model.py:number"], "model.py:number gives an object of type int", "name an nn.Module"),
        (
            ["model.py:pair"],
            "model.py:pair gives an object of type tuple",
            "take the model out of it: model.py:pair[1]",
        ),
        (["model.py:Net", "--set", "width"], "--set 'width' cannot be read", "--set name=value"),
        (["model.py:Net", "--set", "widht=3"], "model.py:Net has no argument 'widht'", "did you mean width?"),
        (["model.py", "--set", "widht=3"], "no model in model.py has no argument", "did you mean width?"),
        (["model.py:Net()", "--set", "width=3"], "--set has nothing to act on", "name the class"),
        (["model.py:Net(1, 2)"], "model.py raised TypeError: Net.__init__() takes", "the fault is in the file"),
        (["model.py:Net", "--set", "width=x"], "model.py raised TypeError", "the fault is in the file"),
        (["no_such_module:Net"], "there is no module 'no_such_module'", "install its package"),
        (["torchvision.models:resnet19"], "torchvision.models has no 'resnet19'", "did you mean resnet1"),
        (["net.pth"], "there is no file net.pth", "working folder"),
        (["model.py", "no_such.py"], "there is no file no_such.py", "working folder"),
        (["model.py", "--batch-size", "0"], "batch size 0 is not positive", "1 is the size"),
        (["model.py", "--mode", "test"], "mode 'test' is not known", "one of train, eval"),
        (["model.py", "--device", "tpu"], "device 'tpu' is not known", "one of cuda, cpu"),
    ],
)
def test_a_target_or_option_that_means_nothing(scan: Scan, arguments: list[str], message: str, hint: str) -> None:
    write(f"{NET}number = 3\npair = (1, nn.Linear(2, 2))\n")
    Path("folder").mkdir()
    result = scan(*arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.message
    assert hint in result.hint


def test_a_missing_package_can_be_stood_in_for(scan: Scan) -> None:
    result = scan(str(TARGETS / "missing_package.py"), "--input", "4")
    assert result.code == 2
    assert "--stub nowhere_to_be_found" in result.hint
    result = scan(f"{TARGETS / 'missing_package.py'}:Net", "--input", "4", "--stub", "nowhere_to_be_found")
    assert result.code == 1
    assert "bn" in result.out


def test_candidates_are_listed_where_nothing_can_be_built(scan: Scan) -> None:
    result = scan(str(TARGETS / "params_net.py"))
    assert result.code == 2
    line = result.hint.splitlines()[1].strip()
    command = line.partition("bnguard ")[2].split()
    values = {
        "params.inputs=…": "params.inputs=4",
        "params.hidden=…": "params.hidden=3",
        "params.bias=…": "params.bias=0",
    }
    result = scan(*[values.get(word, word) for word in command[1:]], "--input", "4")
    assert result.code == 1, result.err


def test_several_targets_of_the_same_name(scan: Scan) -> None:
    result = scan(str(TARGETS / "first/model.py"), str(TARGETS / "second/model.py:Net"), "--format", "json")
    models = json.loads(result.out)["models"]
    assert [m["layers"][0]["num_features"] for m in models] == [4, 6]


def test_whatever_the_file_prints_stays_off_stdout(scan: Scan) -> None:
    noise = "print('import')\nimport sys\nsys.stdout.write('write')\n"
    write(
        noise
        + NET.replace("    return", "    print('forward')\n    return").replace("    super", "    print(1)\n    super")
    )
    result = scan("model.py", "--input", "4", "--format", "json")
    assert json.loads(result.out)["command"] == "scan"
    assert "import" in result.err
    assert "forward" in result.err


def test_layer_names_are_not_taken_for_markup(scan: Scan) -> None:
    write(
        "class Net(nn.Module):\n  def __init__(self):\n    super().__init__()\n"
        "    self.add_module('[red]', nn.BatchNorm1d(4))\n"
        "  def forward(self, x):\n    return self._modules['[red]'](x)\n"
    )
    result = scan("model.py", "--input", "4")
    assert result.code == 1
    assert "[red]" in result.out
