"""``bnguard fix`` as a user runs it: the diff through real tools, what is said, the exit code."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """import torch
from torch.utils.data import DataLoader

train_loader = DataLoader(data, batch_size=8)  # the one
val_loader = DataLoader(data, batch_size=8)
loader = DataLoader(data, batch_size=8)
"""
FIXED = TRAIN.replace("DataLoader(data, batch_size=8)  # the one", "bnguard.repair.merge_tail(DataLoader(data, batch_size=8))  # the one").replace("import torch\n", "import bnguard\nimport torch\n")  # fmt: skip  # noqa: E501
SAFE = "import torch\nval_loader = torch.utils.data.DataLoader(data, 8)\n"


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bnguard", "fix", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"} | env,
        capture_output=True,
        check=False,
    )


def said(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stderr.decode().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


def test_the_diff_is_alone_on_stdout_and_every_call_is_spoken_of(folder):
    done = run("train.py", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.decode() == (
        "--- a/train.py\n+++ b/train.py\n@@ -1,6 +1,7 @@\n+import bnguard\n import torch\n"
        " from torch.utils.data import DataLoader\n \n"
        "-train_loader = DataLoader(data, batch_size=8)  # the one\n"
        "+train_loader = bnguard.repair.merge_tail(DataLoader(data, batch_size=8))  # the one\n"
        " val_loader = DataLoader(data, batch_size=8)\n loader = DataLoader(data, batch_size=8)\n"
    )
    assert said(done) == [
        "train.py:4 train_loader: fix: feeds training (by its name), and its last batch can hold one sample",
        "train.py:5 val_loader: left: feeds evaluation (by its name): one sample is safe there after model.eval()",
        "train.py:6 loader: left: nothing says whether it feeds training: say --train loader or --eval loader",
        "bnguard: 1 call left for you to decide, see above",
        "bnguard: 1 call to fix: pipe the diff into `git apply`, or run again with --write",
    ]
    assert (folder / "train.py").read_text() == TRAIN


def test_nothing_of_the_file_runs(tmp_path):
    (tmp_path / "train.py").write_text(f"open('ran', 'w')\nraise SystemExit(7)\n{TRAIN}")
    assert run("train.py", cwd=tmp_path).returncode == 1
    assert not (tmp_path / "ran").exists()


_TOOLS = {"git": ["git", "apply"], "patch": ["patch", "-p1", "-s"]}
_FILES = {
    "crlf.py": TRAIN.replace("\n", "\r\n").encode(),
    "mixed.py": TRAIN.replace("\n\n", "\r\n\n").encode(),
    "bom.py": b"\xef\xbb\xbf" + TRAIN.encode(),
    "no newline.py": TRAIN.split("val", maxsplit=1)[0].rstrip().encode(),
    "latin.py": f"# coding: latin-1\n# é\n{TRAIN}".encode("latin-1"),
    "päge.py": TRAIN.replace("\n\n", "\n\f\n").encode(),
}


@pytest.mark.parametrize("tool", _TOOLS)
@pytest.mark.parametrize("place", [".", "a sub folder", "in a repository"])
def test_real_tools_take_the_diff(tmp_path, tool, place):
    if not shutil.which(_TOOLS[tool][0]):
        pytest.skip(f"{tool} is not installed")
    here = tmp_path / place
    (here / "deeper").mkdir(parents=True)
    if place == "in a repository":
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    for name, data in _FILES.items():
        (here / name).write_bytes(data)
    (here / "deeper/train.py").write_text(TRAIN)
    files = [*_FILES, "deeper/train.py"]
    diff = run(*files, cwd=here)
    assert diff.returncode == 1, said(diff)
    applied = subprocess.run(_TOOLS[tool], input=diff.stdout, cwd=here, capture_output=True, check=False)
    assert applied.returncode == 0, applied.stderr
    assert (here / "deeper/train.py").read_text() == FIXED
    by_diff = {name: (here / name).read_bytes() for name in files}
    for name, data in _FILES.items():
        (here / name).write_bytes(data)
    (here / "deeper/train.py").write_text(TRAIN)
    assert run("--write", *files, cwd=here).returncode == 1  # one loader in each is for the user to decide
    assert by_diff == {name: (here / name).read_bytes() for name in files}
    assert run(*files, "--eval", "loader", cwd=here).returncode == 0


def test_a_file_elsewhere_is_named_from_the_root(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run(str(folder / "train.py"), cwd=elsewhere)
    name = str(folder / "train.py").lstrip("/")
    assert done.stdout.decode().startswith(f"--- a/{name}\n")
    assert "patch -p1 -d /" in said(done)[-1]
    if shutil.which("patch"):
        subprocess.run(["patch", "-s", "-p1", "-d", "/"], input=done.stdout, check=True)
        assert (folder / "train.py").read_text() == FIXED


def test_a_link_is_followed_to_its_file(folder):
    (folder / "link.py").symlink_to("train.py")
    done = run("link.py", "train.py", "./train.py", cwd=folder)
    assert done.stdout.decode().count("+++ b/train.py\n") == 1
    assert b"link.py" not in done.stdout


def test_write(folder):
    done = run("--write", "train.py", "--eval", "loader", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"")
    assert (folder / "train.py").read_text() == FIXED
    assert (folder / "train.py.orig").read_text() == TRAIN
    assert said(done)[-1] == "train.py: written; what it was is kept in train.py.orig"
    again = run("--write", "train.py", "--eval", "loader", cwd=folder)
    assert (again.returncode, again.stdout) == (0, b"")
    assert "train.py:5 train_loader: left: already in bnguard.repair.merge_tail()" in said(again)
    assert sorted(p.name for p in folder.iterdir()) == ["train.py", "train.py.orig"]


def test_git_keeps_what_was(folder):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True)
    assert run("--write", "train.py", "--eval", "loader", cwd=folder).returncode == 0
    assert sorted(p.name for p in folder.iterdir()) == [".git", "train.py"]
    (folder / "train.py").write_text(f"{TRAIN}more = 1\n")
    refused = run("--write", "train.py", cwd=folder)
    assert refused.returncode == 2
    assert said(refused)[-2:] == [
        "bnguard: train.py has uncommitted changes: nothing was written",
        "  hint: commit or stash them, then run again",
    ]
    assert (folder / "train.py").read_text() == f"{TRAIN}more = 1\n"


def test_one_bad_file_does_not_hide_the_others(folder):
    (folder / "old.py").write_text("import torch\nprint 'a'\n")
    (folder / "safe.py").write_text(SAFE)
    done = run("old.py", "missing.py", "train.py", ".", "safe.py", cwd=folder)
    assert done.returncode == 2
    assert done.stdout.startswith(b"--- a/train.py")
    lines = said(done)
    assert "bnguard: old.py:2: no Python 3 source: Missing parentheses in call to 'print'" in lines[0]
    assert "bnguard: cannot read missing.py: No such file or directory" in lines
    assert "bnguard: . is a folder" in lines
    assert any(line.startswith("safe.py:2 val_loader: left: ") for line in lines)
    assert "Traceback" not in done.stderr.decode()
    written = run("old.py", "--write", "train.py", cwd=folder)
    assert written.returncode == 2
    assert (folder / "train.py").read_text() == FIXED


def test_what_only_the_user_can_decide_stops_a_hook(tmp_path):
    (tmp_path / "train.py").write_text("import torch\nloader = torch.utils.data.DataLoader(data, 8)\n")
    for options in ([], ["--write"]):
        asked = run("train.py", *options, cwd=tmp_path)
        assert (asked.returncode, asked.stdout) == (1, b""), options
    assert said(asked)[-1] == "bnguard: 1 call left for you to decide, see above"
    assert run("train.py", "--eval", "loader", cwd=tmp_path).returncode == 0


def test_nothing_to_change_is_zero(tmp_path):
    (tmp_path / "safe.py").write_text(SAFE)
    (tmp_path / "none.py").write_text('"""Only a docstring."""\n')
    done = run("safe.py", "none.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert said(done)[-1] == "none.py: no DataLoader call"
    assert run("--write", "safe.py", "none.py", cwd=tmp_path).returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none.py", "safe.py"]


def test_a_file_that_uses_the_name_is_exit_2(tmp_path):
    (tmp_path / "train.py").write_text(f"bnguard = 3\n{TRAIN}")
    done = run("train.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "but the file binds the name bnguard in line 1: rename it, or write the call by hand" in said(done)[0]


class TestWhatTheUserSays:
    def test_names_and_lines(self, folder):
        done = run("train.py", "--train", "loader", "--train", "5", "--eval", "train_loader", cwd=folder)
        assert done.returncode == 1
        changed = [line for line in done.stdout.decode().splitlines() if "merge_tail" in line]
        assert [line.split()[0] for line in changed] == ["+val_loader", "+loader"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--train", "nothing"], "no DataLoader call for nothing"),
            (["--eval", "99"], "no DataLoader call for line 99"),
            (["--train", "loader", "--eval", "6"], "train.py:6 loader: declared as training and as evaluation"),
            (["safe.py", "--train", "4"], "a line belongs to one file"),
        ],
    )
    def test_what_makes_no_sense_is_one_line(self, folder, arguments, message):
        (folder / "safe.py").write_text(SAFE)
        done = run("train.py", *arguments, cwd=folder)
        assert (done.returncode, done.stdout) == (2, b"")
        assert said(done)[0] == f"bnguard: {message}"
        assert said(done)[1].startswith("  hint: ")

    def test_a_name_in_one_of_several_files(self, folder):
        (folder / "safe.py").write_text(SAFE)
        assert run("train.py", "safe.py", "--train", "loader", cwd=folder).returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("no_color", [False, True])
def test_colour_on_a_terminal_alone(folder, no_color):
    import pty

    outer, inner = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "40", "TERM": "xterm-256color"}
    env = {k: v for k, v in env.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | (
        {"NO_COLOR": "1"} if no_color else {}
    )
    command = [sys.executable, "-m", "bnguard", "fix", "train.py"]
    done = subprocess.run(command, stdout=inner, stderr=subprocess.PIPE, cwd=folder, env=env, check=False)
    os.close(inner)
    shown = os.read(outer, 2**16).decode().replace("\r\n", "\n")
    os.close(outer)
    assert done.returncode == 1
    added = "+train_loader = bnguard.repair.merge_tail(DataLoader(data, batch_size=8))  # the one"
    assert ("\x1b[32m" + added in shown) is not no_color
    assert ("\x1b[3" in shown) is not no_color
    assert f"{added}\x1b[0m\n" in shown or f"{added}\n" in shown
    assert b"\x1b" not in run("train.py", cwd=folder, FORCE_COLOR="1").stdout


CRASHES = """import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(9, 4))
train_loader = DataLoader(data, batch_size=8)
model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
print([len(model(x)) for x, in train_loader])
"""


def test_a_script_that_fails_runs_after_the_edit(tmp_path):
    pytest.importorskip("bnguard.repair")
    script = tmp_path / "train.py"
    script.write_text(CRASHES)

    def train() -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=False, env=env, cwd=tmp_path
        )

    assert "Expected more than 1 value per channel" in train().stderr
    assert run("--write", "train.py", cwd=tmp_path).returncode == 0
    after = train()
    assert (after.returncode, after.stdout) == (0, "[9]\n"), after.stderr


def test_the_documentation_shows_what_is_printed(tmp_path):
    page = (ROOT / "docs/how-to/fix-a-loader.md").read_text(encoding="utf-8")
    (tmp_path / "train.py").write_text(page.split("```python\n")[1].split("```")[0])
    done = run("train.py", cwd=tmp_path)
    assert f"$ bnguard fix train.py\n{done.stdout.decode()}```" in page
    assert f"```text\n{done.stderr.decode()}```" in page


def test_a_loader_that_another_file_imports_is_spoken_of(tmp_path: Path):
    (tmp_path / "train.py").write_text("from base import *\ntrain_loader = DataLoader(range(9), 8)\n")
    done = run("train.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    (line,) = said(done)
    assert line == "train.py: no DataLoader call: nothing in this file says that its DataLoader is torch's"


def test_what_it_imports_comes_with_a_plain_install():
    """Every package that the room imports is a dependency, in no extra."""
    if sys.version_info < (3, 11):
        pytest.skip("tomllib")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {re.split(r"[<>=; ]", name)[0] for name in project["dependencies"]}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "bnguard/_fix").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"bnguard"}
    assert packages == {"libcst"} <= installed


MODEL = "\nmodel = torch.nn.Sequential(torch.nn.BatchNorm1d(4))\nmodel.train()\n"


def test_a_line_for_the_model_leaves_the_loaders_alone(folder):
    (folder / "train.py").write_text(TRAIN + MODEL)
    done = run("train.py", "--model-line", "allow_single_sample", "--write", cwd=folder)
    text = (folder / "train.py").read_text()
    assert done.returncode == 0
    assert "merge_tail" not in text
    assert text.endswith("BatchNorm1d(4))\nbnguard.repair.allow_single_sample(model)\nmodel.train()\n")


def test_a_loader_that_is_named_beside_a_models_line_is_wrapped(folder):
    (folder / "train.py").write_text(TRAIN + MODEL)
    run("train.py", "--model-line", "freeze", "--train", "train_loader", "--write", cwd=folder)
    text = (folder / "train.py").read_text()
    assert "train_loader = bnguard.repair.merge_tail(" in text
    assert "bnguard.repair.freeze(model)" in text
