"""The help of every command: nothing cut, nothing that only Python understands, examples, exit codes; its errors."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bnguard._cli.app import COMMANDS, application, run

ALL = ("", *COMMANDS)


def page(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", ALL)
def test_every_line_fits_and_no_word_is_cut(
    command: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = page(command, capsys)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert not re.search(r"\.\.\.(?!\n|$)(?! |\])", text)
    group = application([])
    shown = group.commands[command] if command else group
    words = text.split()
    for param in shown.params:
        for word in (param.help or "").split():
            assert word in words, word


@pytest.mark.parametrize("command", ALL)
def test_it_speaks_to_people(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = page(command, capsys)
    assert not re.search(r"<\w+(\[\w+\])?>|\[\[|\{|\|\w+\|\w+\|", text)
    assert text.startswith(f"Usage: bnguard {command}".rstrip())
    for title in ("Options:", "Examples:", "Exit codes:"):
        assert f"\n{title}\n" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_takes_a_value_names_it(command: str) -> None:
    for param in application([]).commands[command].params:
        assert param.help
        assert getattr(param, "is_flag", False) or param.metavar, param.name


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_commands_that_can_be_read(command: str) -> None:
    """Options and arguments of every example are the command's; nothing is run."""
    group = application([])
    for line, meaning in group.commands[command].page.examples:
        assert meaning
        words = shlex.split(line.rpartition("| ")[2])
        assert words[:2] == ["bnguard", command]
        with group.commands[command].make_context(command, words[2:]) as context:
            assert context.args == []


@pytest.mark.parametrize(
    ("argv", "said", "hint"),
    [
        ("scan", "`bnguard scan` needs a TARGET", "such as `bnguard scan model.py`"),
        ("explain", "`bnguard explain` needs a CODE", "such as `bnguard explain BN101`"),
        ("preflight --format json", "`bnguard preflight` needs a SCRIPT", "such as `bnguard preflight train.py`"),
        ("fix --write", "`bnguard fix` needs a FILE", "such as `bnguard fix train.py`"),
        ("scan --inpt 3 x.py", "`bnguard scan` has no option --inpt", "did you mean --input?"),
        ("scan x.py --bs q", "invalid value for '--batch-size' / '--bs': 'q' is not a valid integer", "`bnguard scan"),
        ("check --config", "option '--config' requires an argument", "bnguard --help"),
        ("scn", "there is no command 'scn'", "did you mean scan?"),
        ("train.py", "there is no command 'train.py'", "bnguard preflight train.py"),
        ("explain BN110", "there is no rule 'BN110'", "did you mean BN101?"),
        ("scan x.py --select BN110", "no rule code starts with 'BN110'", "did you mean BN101?"),
        ("scan x.py --ignore BN1,DL011", "no rule code starts with 'DL011'", "did you mean DL101?"),
    ],
)
def test_an_error_names_what_is_missing_and_the_next_step(
    argv: str, said: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(argv.split()) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert captured.out == ""
    assert first == f"bnguard: {said}"
    assert second.startswith(f"  hint: {hint}")


def test_no_colour_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in page("scan", capsys)


def test_colour_on_a_terminal_unless_it_is_not_wanted() -> None:
    pty = pytest.importorskip("pty")

    def shown(**env: str) -> bytes:
        main, side = pty.openpty()
        code = [sys.executable, "-m", "bnguard", "rules", "--help"]
        subprocess.run(code, stdout=side, check=True, env={**os.environ, "TERM": "xterm", **env})
        os.close(side)
        text = os.read(main, 65536)
        os.close(main)
        return text

    assert b"\x1b[1mUsage" in shown(NO_COLOR="")
    assert b"\x1b" not in shown(NO_COLOR="1")


TRAINS = """
import torch, sys
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
for (x,) in DataLoader(TensorDataset(torch.randn(9, 3)), batch_size=8):
    net(x).sum().backward()
"""
OWN = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--format')\nparser.parse_args()\n"


@pytest.mark.parametrize(
    ("script", "behind", "meant"),
    [
        (TRAINS, "--format json --lr 0.1", "bnguard preflight --format json train.py --lr 0.1"),
        (TRAINS, "--format=json", "bnguard preflight --format=json train.py"),
        (TRAINS, "--keep --budget 3", "bnguard preflight --keep --budget 3 train.py"),
        (TRAINS, "", None),
        (TRAINS, "--format", "bnguard preflight --format train.py"),
        (TRAINS, "-- --format json", None),
        (TRAINS, "--lr 0.1 --help", None),
        (OWN + TRAINS, "--format json", None),
    ],
)
def test_an_option_behind_the_script_is_told_in_a_line_and_given_to_it(
    script: str, behind: str, meant: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from bnguard._cli.interface.passed_on import tell_of_own_options

    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(script, encoding="utf-8")
    words = ["train.py", *behind.split()]
    command = application(["preflight"]).commands["preflight"]
    with command.make_context("bnguard preflight", list(words)) as context:
        tell_of_own_options(context, words, is_module=False)
    said = capsys.readouterr().err
    assert said.endswith(f"for bnguard: {meant}\n") if meant else said == ""
    assert said.count("\n") == (meant is not None)


def bnguard(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "bnguard", *argv]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)


def test_a_script_keeps_its_own_option(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(OWN + "import sys; print(sys.argv[1:])", encoding="utf-8")
    done = bnguard(tmp_path, "run", "train.py", "--format", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "['--format', 'x']\n", "")


def test_a_script_that_refuses_our_option_ends_below_the_line_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(OWN.replace("--format", "--lr"), encoding="utf-8")
    done = bnguard(tmp_path, "preflight", "train.py", "--keep")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "bnguard: --keep behind train.py goes to it; for bnguard: bnguard preflight --keep train.py\n"
    )
    assert "train.py: error: unrecognized arguments: --keep" in done.stderr
