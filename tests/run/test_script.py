"""A script runs as under plain Python: the same output, the same traceback, the same exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnguard import _ranks as ranks
from bnguard._errors import TargetError
from bnguard._run import script

ROOT = Path(__file__).parents[2]

ENDINGS = {
    "return": "pass",
    "exit-text": "sys.exit('no data')",
    "exit-code": "sys.exit(7)",
    "exit-tuple": "sys.exit((1, 2))",
    "os-exit": "os._exit(9)",
    "raise": "{}['label']",
    "chained": "try: 1 / 0\nexcept ZeroDivisionError as e: raise ValueError('outer') from e",
    "broken-pipe": "raise BrokenPipeError('mine')",
    "syntax": "compile('x = = 1', 'other.py', 'exec')",
    "at-exit": "import atexit; atexit.register(print, 'at exit'); 1 / 0",
    "own-hook": "sys.excepthook = lambda *a: print('mine', a[0].__name__, file=sys.stderr); 1 / 0",
    "failing-hook": "sys.excepthook = lambda *a: 1 / 0; {}['label']",
    "thread": "import threading; t = threading.Thread(target=lambda: 1 / 0, name='t'); t.start(); t.join()",
}
LOOK = (
    "import os, pickle, sys\n"
    "class Sample: pass\n"
    "pickle.loads(pickle.dumps(Sample()))\n"
    "print(__name__, __file__, __package__, __spec__ and __spec__.name, sys.argv, sys.path[0], os.getcwd())\n"
    "print(sys.modules['__main__'].Sample is Sample, 'annotations' in globals(), 'torch' in sys.modules)\n"
    "sys.stdout.flush()\n"
)


def python(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**__import__("os").environ, "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_ends_as_it_would_under_python(ending: str, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(LOOK + ENDINGS[ending] + "\n", encoding="utf-8")
    arguments = ["code/train.py", "--lr", "1", "--", "--watch", "-h"]
    plain = python(*arguments, cwd=tmp_path)
    guarded = python("-m", "bnguard", "run", *arguments, cwd=tmp_path)
    assert (guarded.returncode, guarded.stdout, guarded.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_a_module_runs_as_with_dash_m(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text("from . import __name__ as parent\n" + LOOK, encoding="utf-8")
    plain = python("-m", "pack", "--lr", "1", cwd=tmp_path)
    guarded = python("-m", "bnguard", "run", "-m", "pack", "--lr", "1", cwd=tmp_path)
    assert (guarded.returncode, guarded.stdout, guarded.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_a_folder_with_a_main_runs(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("import beside\nprint(beside.x)", encoding="utf-8")
    (tmp_path / "app" / "beside.py").write_text("x = 3", encoding="utf-8")
    assert python("-m", "bnguard", "run", "app", cwd=tmp_path).stdout == "3\n"


def test_an_interrupt_is_130_with_pythons_traceback(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint(1)\n", encoding="utf-8"
    )
    plain = python("train.py", cwd=tmp_path)
    guarded = python("-m", "bnguard", "run", "train.py", cwd=tmp_path)
    assert (guarded.returncode, guarded.stderr) == (130, plain.stderr)


def test_a_file_that_is_not_python_fails_as_under_python(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = = 1\n", encoding="utf-8")
    plain = python("train.py", cwd=tmp_path)
    guarded = python("-m", "bnguard", "run", "train.py", cwd=tmp_path)
    assert (guarded.returncode, guarded.stderr) == (1, plain.stderr)


@pytest.mark.slow
def test_workers_that_are_spawned_find_the_classes_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, sys\n"
        "os.environ['OMP_NUM_THREADS'] = '1'\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "from torch.utils.data import DataLoader, Dataset\n"
        "class Numbers(Dataset):\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, i): return i\n"
        "if __name__ == '__main__':\n"
        "    loader = DataLoader(Numbers(), 2, num_workers=1, multiprocessing_context='spawn')\n"
        "    print([x.tolist() for x in loader])\n",
        encoding="utf-8",
    )
    result = python("-m", "bnguard", "run", "train.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "[[0, 1], [2]]\n"), result.stderr


@pytest.fixture
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.mark.usefixtures("as_it_was")
def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    (tmp_path / "pack").mkdir()
    for call, message, hint in [
        (lambda: script.script("trian.py", []), "trian.py: no such script", "did you mean train.py?"),
        (lambda: script.script("nowhere/x.py", []), "nowhere/x.py: no such script", "give the path"),
        (lambda: script.module("nope.train", []), "no module named 'nope.train' that can be run", "-m"),
        (lambda: script.module("pack", []), "no module named 'pack' that can be run", "-m"),
        (lambda: script.module(".x", []), "no module named '.x' that can be run", "-m"),
    ]:
        with pytest.raises(TargetError) as caught:
            call()
        assert (caught.value.message, caught.value.exit_code) == (message, 2)
        assert hint in (caught.value.hint or "")


def test_one_rank_reports_and_the_others_refer_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert ranks.claim_report() is None  # one process: nothing to claim
    attempt = tmp_path / "attempt_0"
    for number in ("1", "0", "2"):
        (attempt / number).mkdir(parents=True)
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(attempt / number / "error.json"))
        monkeypatch.setenv("RANK", number)
        monkeypatch.setenv("WORLD_SIZE", "3")
        assert ranks.claim_report() == (None if number == "1" else 1)


def test_without_torchrun_a_claim_goes_with_the_process(tmp_path: Path) -> None:
    claim = "from bnguard import _ranks as ranks; print(ranks.claim_report())"
    job = {"WORLD_SIZE": "2", "MASTER_PORT": "29500", "TMPDIR": str(tmp_path), "TORCHELASTIC_ERROR_FILE": ""}
    assert python("-c", claim, cwd=tmp_path, RANK="1", **job).stdout == "None\n"
    assert python("-c", claim, cwd=tmp_path, RANK="0", **job).stdout == "None\n"
    assert list(tmp_path.iterdir()) == []
