"""``bnguard audit-loader`` as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bnguard", "audit-loader", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"} | env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def document(*arguments: str, cwd: Path | None = None) -> dict:
    return json.loads(run(*arguments, "--format", "json", cwd=cwd).stdout)


def test_nine_at_eight_breaks():
    done = run("--n", "9", "--bs", "8")
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].endswith("a batch of one sample comes at step 2 of 2")
    assert "DL101" in done.stdout
    first = document("--n", "9", "--bs", "8")["loaders"][0]["first_single"]
    assert (first["rank"], first["step"], first["steps"], first["replica"]) == (0, 2, 2, None)


def test_ten_at_eight_is_fine():
    done = run("--n", "10", "--batch-size", "8")
    assert done.returncode == 0
    assert "no batch of one sample" in done.stdout.splitlines()[0]


def test_drop_last_names_the_unused_sample():
    done = run("--n", "9", "--bs", "8", "--drop-last")
    assert done.returncode == 0
    assert "1 of 9 samples" in done.stdout


def test_the_split_of_random_split():
    loaders = document("--n", "6", "--bs", "8", "--split", "5:3:2")["loaders"]
    assert [loader["samples"] for loader in loaders] == [4, 1, 1]


def test_json_is_alone_on_stdout():
    done = run("--n", "9", "--bs", "8", "--format", "json")
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert (said["schema"], said["command"], said["summary"]) == (
        1,
        "audit-loader",
        {"errors": 1, "warnings": 0, "notes": 0},
    )


def test_severity_and_codes_decide_the_exit_code():
    assert run("--n", "9", "--bs", "8", "--fail-on", "never").returncode == 0
    assert run("--n", "9", "--bs", "8", "--ignore", "DL1").returncode == 0
    assert run("--n", "9", "--bs", "8", "--select", "DL105").returncode == 0
    assert run("--n", "9", "--bs", "8", "--names", "test", "--fail-on", "warning").returncode == 1


def test_a_range_is_one_strip():
    done = run("--n", "9..40", "--bs", "8")
    assert done.returncode == 1
    assert "breaks at n = 9, 17, 25, 33 (every 8)" in done.stdout


def test_unknown_does_not_look_safe():
    done = run("--n", "35", "--bs", "4", "--iterable", "--workers", "4")
    assert done.returncode == 0
    assert done.stdout.startswith("?")
    assert "unknown" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--n", "0", "--bs", "8"),
        ("--n", "-1", "--bs", "8"),
        ("--n", "9", "--bs", "0"),
        ("--n", "9", "--bs", "x"),
        ("--n", "9"),
        ("--n", str(2**63), "--bs", "8"),
        ("--n", "9", "--bs", str(2**70)),
        ("--n", "9", "--bs", "8", "--split", "0.9,0.9"),
        ("--n", "9", "--bs", "8", "--split", "nan,1"),
        ("--n", "9", "--bs", "8", "--split", "8:2", "--names", "a,b,c"),
        ("--n", "9", "--bs", "8", "--kfold", "10"),
        ("--n", "9", "--bs", "8", "--world-size", "0"),
        ("--n", "9", "--bs", "8", "--kfold", "3", "--split", "8:2"),
        ("--n", "9", "--bs", "8", "--format", "xml"),
        ("--n", "9", "--bs", "8", "--select", "ZZ"),
        ("--n", "9", "--bs", "8", "--nonsense"),
        ("nowhere.py:loader",),
    ],
)
def test_bad_input_is_exit_2_without_a_traceback(arguments: tuple[str, ...], tmp_path: Path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_numbers_never_import_torch():
    code = (
        "import sys; from bnguard.cli.app import run; "
        "code = run(['audit-loader', '--n', '9', '--bs', '8']); "
        "print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "[]"


TRAIN = """
import torch
from torch.utils.data import DataLoader, Dataset

class Nine(Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, index):
        raise AssertionError("a sample was fetched")

train_loader = DataLoader(Nine(), batch_size=8, shuffle=True)
val_loader = DataLoader(Nine(), batch_size=8)
number = 3

def make_loaders():
    return {"train": train_loader, "val": val_loader}

def broken():
    raise KeyError("no data here")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    return tmp_path


def test_a_live_loader(script: Path):
    said = document("train.py:train_loader", cwd=script)
    assert [loader["name"] for loader in said["loaders"]] == ["train_loader"]
    assert said["loaders"][0]["streams"][0]["batches"] == [[8, 1], [1, 1]]
    assert said["torch"]
    assert run("train.py:val_loader", cwd=script).returncode == 0  # its name says evaluation


def test_a_function_that_makes_loaders(script: Path):
    said = document("train.py:make_loaders()", cwd=script)
    assert [(loader["name"], loader["mode"]) for loader in said["loaders"]] == [("train", "train"), ("val", "eval")]
    assert [f["code"] for f in said["findings"]] == ["DL101", "DL102"]


def test_several_targets(script: Path):
    said = document("train.py:train_loader", "train.py:val_loader", "--eval", "train_loader", cwd=script)
    assert [loader["mode"] for loader in said["loaders"]] == ["eval", "eval"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train.py:number",), "no DataLoader"),
        (("train.py:broken()",), "KeyError"),
        (("train.py:missing",), "missing"),
        (("train.py:train_loader", "--n", "9"), "live loader"),
        (("train.py:train_loader", "train.py:train_loader"), "twice"),
    ],
)
def test_bad_targets(script: Path, arguments: tuple[str, ...], words: str):
    done = run(*arguments, cwd=script)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr


def test_help():
    done = run("--help")
    assert done.returncode == 0
    assert "--world-size" in done.stdout
    assert run().returncode in (0, 2)


@pytest.mark.parametrize("trains_first", [False, True])
def test_a_file_that_trains_is_stopped_there(tmp_path: Path, trains_first: bool):
    """Nobody waits for a training, or pays for one, to learn of a loader that exists before it begins."""
    make = "loader = torch.utils.data.DataLoader(range(9), batch_size=8)\n"
    train = "open('trained', 'w')\ntorch.ones(1, requires_grad=True).sum().backward()\nopen('trained_on', 'w')\n"
    (tmp_path / "train.py").write_text("import torch\n" + (train + make if trains_first else make + train))
    done = run("train.py:loader", cwd=tmp_path)
    assert (tmp_path / "trained").exists()
    assert not (tmp_path / "trained_on").exists()
    if trains_first:
        assert done.returncode == 2
        assert "train.py starts to train when it is loaded (train.py, line 3" in done.stderr
        assert "or the loader to a file of its own" in done.stderr
    else:
        assert done.returncode == 1, done.stderr
        assert "step 2 of 2" in done.stdout
