"""From a crash to a script that trains through, in two commands; the second is read out of the report of the first."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(p.name for p in Path(__file__).with_name("crashing").iterdir())
NEEDS = {"lightning": "lightning"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, encoding="utf-8", check=False
    )


def command_in(report: str) -> list[str]:
    """The last line of a report, as a shell would take it: ``… fixable with: bnguard fix …``."""
    (found,) = re.findall(r"fixable with:\s+bnguard (fix .*)\Z", report.rstrip())
    return shlex.split(found)


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_commands(name: str, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    folder = shutil.copytree(Path(__file__).with_name("crashing") / name, tmp_path / name)
    crash = run(["train.py"], folder)
    assert crash.returncode == 1
    assert "ValueError: Expected more than 1 value per channel when training" in crash.stderr

    told = run(["-m", "bnguard", "preflight", "train.py"], folder)
    assert told.returncode == 1
    fix = command_in(told.stdout)
    mended = run(["-m", "bnguard", *fix], folder)
    assert ": written" in mended.stderr, mended.stderr

    after = run(["train.py"], folder)
    assert after.returncode == 0, after.stderr[-2000:]
    counts = re.findall(r"(\d+) of (\d+) samples", after.stdout)
    assert counts, after.stdout
    assert all(seen == there for seen, there in counts)
    assert ("merge_tail" in "".join(p.read_text() for p in folder.rglob("*.py"))) is (name != "ones")


def test_every_format_names_the_same_command(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(__file__).with_name("crashing") / "main", tmp_path / "main")
    outputs = ["--output", "-", "--output", "report.json", "--output", "report.md", "--output", "report.html"]
    told = run(["-m", "bnguard", "preflight", *outputs, "train.py"], folder)
    command = shlex.join(["bnguard", *command_in(told.stdout)])
    document = json.loads((folder / "report.json").read_text())
    assert document["fix_command"] == command
    assert [f["fixable"] for f in document["findings"]] == [True]
    assert command in (folder / "report.md").read_text(encoding="utf-8")
    assert command in (folder / "report.html").read_text(encoding="utf-8")
    run(["-m", "bnguard", *command_in(told.stdout)], folder)
    again = run(["-m", "bnguard", "preflight", "train.py"], folder)
    assert (again.returncode, "fixable" in again.stdout) == (0, False), again.stdout
