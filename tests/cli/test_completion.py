"""The completion script that is printed for bash, sourced by a real bash that completes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnguard._cli.app import COMMANDS
from bnguard._report.formats import FORMATS
from bnguard._rules import CATALOGUE

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")
COMPLETE = """
source completion.sh
COMP_WORDS=(bnguard "$@") COMP_CWORD=$#
$(complete -p bnguard | sed 's/.*-F \\([^ ]*\\) .*/\\1/') bnguard
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return a folder with the script in it, and an environment in which ``bnguard`` is a command."""
    folder = tmp_path_factory.mktemp("shell")
    program = folder / "bnguard"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnguard "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    asked = {**env, "_BNGUARD_COMPLETE": "source_bash"}
    script = subprocess.run(["bnguard"], env=asked, capture_output=True, text=True, check=True).stdout
    assert "complete -o default -F" in script
    (folder / "completion.sh").write_text(script, encoding="utf-8")
    return folder, env


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("",), set(COMMANDS)),
        (("explain",), {"explain", "explain-error"}),
        (("explain", "BN10"), {rule.code for rule in CATALOGUE if rule.code.startswith("BN10")}),
        (("scan", "--format", "s"), {name for name in FORMATS if name.startswith("s")}),
        (("scan", "model.py", "--select", "DL"), {rule.code for rule in CATALOGUE if rule.code.startswith("DL")}),
        (("scan", "--sel"), {"--select"}),
        (("scan", "--mode", ""), {"train", "eval"}),
        (("audit-loader", "--rounding", "f"), {"floor"}),
        (("rules", "--format", "m"), {"markdown"}),
        (("preflight", "--fail-on", ""), {"error", "warning", "never"}),
        (("scan", "mod"), {""}),  # bash completes file names itself where nothing is offered
        (("preflight", "train.py", "--fail"), {""}),  # they are the script's
    ],
)
def test_bash_completes(shell: tuple[Path, dict[str, str]], typed: tuple[str, ...], offered: set[str]) -> None:
    folder, env = shell
    done = subprocess.run(
        [str(BASH), "--norc", "-c", COMPLETE, "bash", *typed], cwd=folder, env=env, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert set(done.stdout.split("\n")[:-1]) == offered


def test_torch_is_not_imported_to_complete(shell: tuple[Path, dict[str, str]]) -> None:
    _, env = shell
    asked = {**env, "_BNGUARD_COMPLETE": "complete_bash", "COMP_WORDS": "bnguard explain B", "COMP_CWORD": "2"}
    code = (
        "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr));"
        "from bnguard._cli.app import main; main([])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("BN101\n")
    assert done.stderr == "False\n"
