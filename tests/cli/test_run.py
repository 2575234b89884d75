"""``bnguard run`` as it is typed: the layer is named below Python's own traceback, on one process and on two."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnguard._cli.app import run

ROOT = Path(__file__).parents[2]
NET = """\
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.bn1 = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.bn1(self.fc(x))

"""
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Write a script and run a command line on it."""

    def shell(code: str, *command: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "train.py").write_text(code, encoding="utf-8")
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )

    return shell


def test_the_layer_is_named_below_the_traceback(shell: Shell) -> None:
    result = shell(NET + "Net()(torch.zeros(1, 3))\n", "bnguard", "run", "train.py")
    traceback, note = result.stderr.split("\n\nbnguard: ")
    assert result.returncode == 1
    assert traceback.startswith("Traceback (most recent call last):\n  File ")
    assert traceback.splitlines()[-1].startswith("ValueError: Expected more than 1 value per channel")
    assert "bnguard" not in traceback
    assert note.startswith("bn1 (BatchNorm1d(4), built at train.py:9) failed")
    assert "this call succeeds with the batch doubled" in note


@pytest.mark.slow
def test_without_replay_nothing_is_repeated(shell: Shell) -> None:
    result = shell(NET + "Net()(torch.zeros(1, 3))\n", "bnguard", "run", "--no-replay", "train.py")
    assert "bnguard: bn1" in result.stderr
    assert "this call" not in result.stderr


def test_a_thread_is_explained_and_the_script_goes_on(shell: Shell) -> None:
    code = "import threading\nt = threading.Thread(target=Net(), args=(torch.zeros(1, 3),))\nt.start()\n"
    result = shell(NET + code + "t.join()\nprint('on')\n", "bnguard", "run", "train.py")
    assert (result.returncode, result.stdout) == (0, "on\n")
    assert "bnguard: bn1 (BatchNorm1d(4)" in result.stderr


@pytest.mark.slow
def test_a_guard_of_the_scripts_own_is_not_repeated(shell: Shell) -> None:
    code = "import bnguard\nwith bnguard.guard():\n    Net()(torch.zeros(1, 3))\n"
    result = shell(NET + code, "bnguard", "run", "train.py")
    assert result.stderr.count("bnguard: bn1") == 1


@pytest.mark.slow
def test_other_errors_are_left_alone(shell: Shell) -> None:
    result = shell(NET + "torch.zeros(2).view(3)\n", "bnguard", "run", "train.py")
    assert result.returncode == 1
    assert "bnguard" not in result.stderr


HIDDEN = {
    "logged, then exit": "except Exception:\n    logging.exception('training failed')\n    sys.exit(3)\n",
    "raised as another": "except Exception as error:\n    raise RuntimeError('training failed') from error\n",
    "raised as another without a cause": "except Exception:\n    raise RuntimeError('training failed') from None\n",
    "logged, exit later": "except Exception:\n    logging.exception('training failed')\nsys.exit(3)\n",
    "printed, exit later": "except Exception:\n    traceback.print_exc()\nraise SystemExit('1 of 1 runs failed')\n",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if "later" in n else pytest.mark.slow) for n in HIDDEN])
def test_what_a_script_hides_is_told(name: str, shell: Shell) -> None:
    code = f"import logging, traceback\ntry:\n    Net()(torch.zeros(1, 3))\n{HIDDEN[name]}"
    result = shell(NET + code, "bnguard", "run", "train.py")
    assert result.returncode == (3 if "exit(3)" in code else 1)
    shown = " ".join(result.stderr.split())
    assert shown.count("bnguard: bn1 (BatchNorm1d(4), built at train.py:9) failed") == 1
    assert ("the script caught it and went on" in shown) == ("later" in name)


NOT_A_FAILURE = {
    "it ends well": "except Exception:\n    logging.exception('one batch left out')\nsys.exit(0)\n",
    "another error": "except Exception:\n    pass\n{}['label']\n",
    "another exit": "except Exception:\n    pass\nsys.exit(2)\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_A_FAILURE)
def test_what_a_script_gets_over_is_not_told(name: str, shell: Shell) -> None:
    code = f"import logging\ntry:\n    Net()(torch.zeros(1, 3))\n{NOT_A_FAILURE[name]}"
    result = shell(NET + code, "bnguard", "run", "train.py")
    assert result.returncode == {"it ends well": 0, "another error": 1, "another exit": 2}[name]
    assert "bnguard" not in result.stderr


@pytest.mark.slow
def test_hydra_which_prints_the_error_and_exits(shell: Shell) -> None:
    pytest.importorskip("hydra")
    main = "@hydra.main(version_base=None, config_path=None)\ndef main(cfg):\n    Net()(torch.zeros(1, 3))\n\nmain()\n"
    result = shell(f"import hydra\n{NET}{main}", "bnguard", "run", "train.py")
    assert result.returncode == 1
    assert "Error executing job" in result.stderr
    shown = " ".join(result.stderr.split())
    assert shown.count("bnguard: bn1 (BatchNorm1d(4), built at train.py:10) failed") == 1


def test_the_words_of_a_framework_are_known(shell: Shell) -> None:
    words = "final batch=1 training at imgsz=32 gives BatchNorm a single value per channel"
    result = shell(f"{NET}net = Net()\nraise ValueError({words!r})\n", "bnguard", "run", "train.py")
    assert result.returncode == 1
    shown = " ".join(result.stderr.split())
    assert "bnguard: bn1 (BatchNorm1d(4), built at train.py:9) failed: one value per channel" in shown


def test_a_diagnosis_that_fails_leaves_the_error_and_one_line(shell: Shell) -> None:
    code = (
        "import bnguard._diagnose.diagnose as p\ndef broken(*a, **k): raise KeyError('own')\np.find_failure = broken\n"
    )
    result = shell(NET + code + "Net()(torch.zeros(1, 3))\n", "bnguard", "run", "train.py")
    *traceback, hint = result.stderr.strip().splitlines()
    assert result.returncode == 1
    assert traceback[-1].startswith("ValueError: Expected more than 1 value")
    assert hint == "bnguard: the error above could not be diagnosed (KeyError: 'own')"


def test_watch_counts_what_passes_silently(shell: Shell) -> None:
    code = (
        "net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))\n"
        "for n in (2, 1, 1): net(torch.zeros(n, 3, 8, 8))\n"
        "sys.exit(5)\n"
    )
    result = shell(NET + code, "bnguard", "run", "--watch", "train.py")
    assert result.returncode == 5
    assert "RT105 2 single-sample batches" in result.stderr
    assert "first in step 2 of 3" in result.stderr


@pytest.mark.slow
def test_a_spawned_process_is_explained_from_its_text(shell: Shell) -> None:
    code = (
        "def work(rank): Net()(torch.zeros(1, 3))\n"
        "if __name__ == '__main__':\n    torch.multiprocessing.spawn(work, nprocs=1)\n"
    )
    result = shell(NET + code, "bnguard", "run", "train.py")
    assert result.returncode == 1
    assert result.stderr.count("\nbnguard: ") == 1
    assert "bnguard: bn1" in result.stderr


@pytest.mark.slow
def test_two_ranks_give_one_report(shell: Shell, tmp_path: Path) -> None:
    code = (
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "net = nn.parallel.DistributedDataParallel(Net())\n"
        "for n in (4, 1): net(torch.zeros(n, 3)).sum().backward()\n"
    )
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--log-dir", str(tmp_path / "logs")]
    result = shell(NET + code, *launch, "-m", "bnguard", "run", "train.py")
    assert result.returncode == 1
    assert result.stderr.count("(proven by replay)") == 1
    assert result.stderr.count("\nbnguard: bn1 (BatchNorm1d(4), built at train.py:9) failed") == 1
    ranks = [rank for rank in (0, 1) if f"process  rank {rank} of 2" in result.stderr]
    assert len(ranks) == 1
    others = [line for line in result.stderr.splitlines() if "failed here as well" in line]
    second = f"bnguard: rank {1 - ranks[0]} of 2: bn1 failed here as well; the report is that of rank {ranks[0]}"
    assert others in ([], [second])  # the launcher may end the second rank before it has said so


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["trian.py"], "trian.py: no such script", "did you mean train.py?"),
        (["-m", "nope"], "no module named 'nope' that can be run", "`-m` takes a name"),
        (["--", "-x"], "-x: no such script", "options of bnguard run stand before the script"),
    ],
)
def test_what_cannot_be_run(
    arguments: list[str], message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    assert run(["run", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"bnguard: {message}"
    assert lines[1].startswith(f"  hint: {hint}")


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "--bogus", "train.py"]) == 2
    assert "--bogus" in capsys.readouterr().err
