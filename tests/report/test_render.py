"""Reports in files and on stdout: whole or not at all, several at once, and the exit code of all formats alike."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from report.examples import sample
from report.runner import commands
from torch import nn

import bnguard
from bnguard._errors import UsageError
from bnguard._report.formats import FORMATS
from bnguard._report.render import Destination, ReportOptions, emit, render_as

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> bnguard.Report:
    return bnguard.scan(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4,))


def to(fmt: str, output: Path | None, **others: object) -> ReportOptions:
    return ReportOptions((Destination(fmt, output),), **others)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_file_is_written_whole(report: bnguard.Report, tmp_path: Path, fmt: str) -> None:
    out = tmp_path / "report.txt"
    assert emit(report, to(fmt, out)) == 1
    assert "BN101" in out.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.txt"]


@pytest.mark.parametrize(
    ("fail_on", "ignore", "code"),
    [("error", (), 1), ("warning", (), 1), ("never", (), 0), ("error", ("BN1",), 0), ("warning", ("BN101",), 0)],
)
@pytest.mark.parametrize("fmt", FORMATS)
def test_exit_codes(
    report: bnguard.Report, tmp_path: Path, fmt: str, fail_on: str, ignore: tuple[str, ...], code: int
) -> None:
    assert emit(report, to(fmt, tmp_path / "r", fail_on=fail_on, ignore=ignore)) == code


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_was_not_carried_out_is_a_two_in_every_format(tmp_path: Path, fmt: str) -> None:
    assert emit(sample(), to(fmt, tmp_path / "r", fail_on="never")) == 2


def test_all_formats_of_one_run_hold_the_same_findings(
    report: bnguard.Report, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    places = (Destination("sarif", tmp_path / "a"), Destination("junit", tmp_path / "b"), Destination("github", None))
    assert emit(report, ReportOptions(places, select=("BN101",))) == 1
    (result,) = json.loads((tmp_path / "a").read_text())["runs"][0]["results"]
    (failure,) = ET.parse(tmp_path / "b").iter("failure")
    (error,) = [c for c in commands(capsysbinary.readouterr().out.decode()) if c.name == "error"]
    assert result["ruleId"] == failure.get("type") == error.properties["title"].split()[0] == "BN101"


@pytest.mark.parametrize("fmt", FORMATS)
def test_other_formats_are_not_imported(fmt: str, tmp_path: Path) -> None:
    script = (
        "import sys; from bnguard._cli.app import run;"
        "run(['audit-loader', '--n', '9', '--bs', '8', '--format', sys.argv[1], '--output', sys.argv[2]]);"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, fmt, str(tmp_path / "r")], capture_output=True, text=True, cwd=ROOT, check=True
    )
    imported = {*done.stdout.split()}
    assert {name for name in FORMATS if f"bnguard._report.formats.{name}" in imported} == {fmt}


def test_a_missing_folder_is_one_line(report: bnguard.Report, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*r\.json: No such file or directory"):
        emit(report, to("json", tmp_path / "none" / "r.json"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(report: bnguard.Report, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="cannot write"):
            emit(report, to("json", tmp_path / "r.json"))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_full_disk_leaves_the_old_file(
    report: bnguard.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fmt: str
) -> None:
    out = tmp_path / "r"
    out.write_text("old")

    def full(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(UsageError, match="No space left"):
        emit(report, to(fmt, out))
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_a_link_stays_a_link_and_a_device_a_device(report: bnguard.Report, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    emit(report, to("json", tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert "BN101" in (tmp_path / "real").read_text()
    emit(report, to("json", Path(os.devnull)))
    assert not Path(os.devnull).is_file()


def shell(line: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m bnguard audit-loader --n 9 --bs 8 {line}'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    ("where", "words"),
    [
        (">/dev/full", "cannot write to stdout: No space left on device"),
        (">&-", "there is no stdout to print to"),
        ("--output /dev/full", "cannot write /dev/full: No space left on device"),
    ],
)
def test_stdout_that_is_full_or_closed_is_two_lines_and_a_two(fmt: str, where: str, words: str) -> None:
    done = shell(f"--format {fmt} {where}")
    assert done.returncode == 2
    first, hint = done.stderr.splitlines()
    assert (first, hint[:8]) == (f"bnguard: {words}", "  hint: ")


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = shell("--n 8..900 --format json | head -c 10; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (1, '{\n  "bngua', "")
    done = shell("--n 8..900 --format json --fail-on never | head -c 10; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "")


def test_formats_for_programs_are_utf8_whatever_the_terminal() -> None:
    done = shell("--format github --names 'é'")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    line = [
        sys.executable,
        "-m",
        "bnguard",
        "audit-loader",
        "--n",
        "9",
        "--bs",
        "8",
        "--names",
        "é",
        "--format",
        "github",
    ]
    ascii_terminal = subprocess.run(line, capture_output=True, cwd=ROOT, env=env, check=False)
    assert ascii_terminal.stdout.decode() == done.stdout
    assert "é: step 2 of 2" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "command", ["rules", "explain BN101", "rules --format json", "--version", "--help", "scan --help"]
)
def test_no_command_takes_a_full_disk_for_a_bug(command: str) -> None:
    line = f'"{sys.executable}" -m bnguard {command} > /dev/full'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bnguard: cannot write to stdout: No space left on device")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("command", ["rules", "explain BN101", "rules --format markdown", "audit-loader --help"])
def test_no_command_needs_more_characters_than_the_terminal_has(command: str, encoding: str) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    line = [sys.executable, "-m", "bnguard", *command.split()]
    done = subprocess.run(line, capture_output=True, cwd=ROOT, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    if command.startswith("explain"):
        assert "values are N x" in done.stdout.decode(encoding).replace("×", "x")


@pytest.mark.parametrize("options", ["", "--split 0.8,0.2"])
def test_a_console_reader_that_goes_away_is_no_error(options: str) -> None:
    done = shell(f"--n 8..900 {options} --fail-on never | head -1; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


def test_several_formats_on_the_command_line(tmp_path: Path) -> None:
    sarif, junit = tmp_path / "a.sarif", tmp_path / "b"
    done = shell(f'--output "{sarif}" --format sarif --format junit --format console --output "{junit}"')
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("✗ train: a batch of one sample comes at step 2 of 2")
    assert [r["ruleId"] for r in json.loads(sarif.read_text())["runs"][0]["results"]] == ["DL101"]
    assert [f.get("type") for f in ET.parse(junit).iter("failure")] == ["DL101"]
    refused = shell("--format sarif --format json")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("bnguard: sarif and json would both go to stdout\n  hint: ")


@pytest.mark.parametrize("count", [1, 8, 9, 30])
@pytest.mark.parametrize("fix", [None, "fix it"])
def test_the_console_accounts_for_every_finding(count: int, fix: str | None) -> None:
    from bnguard._facts.findings import Finding, Report, Severity
    from bnguard._remedies import Advice

    remedies = (Advice("eps", fix),) if fix else ()
    findings = [
        Finding("BN101", Severity.ERROR, "fails", f"bn{i}", remedies=remedies, layer=f"bn{i}") for i in range(count)
    ]
    loaders = bnguard.audit_loader(n=9, batch_size=8).loaders
    shown = render_as("console", Report("audit-loader", loaders=loaders, findings=findings), quiet=True)
    more = sum(int(n) for n in re.findall(r"and (\d+) more", shown))
    assert len(re.findall(r"\bbn\d+\b", shown)) + more == count
