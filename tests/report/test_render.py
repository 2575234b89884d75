"""Writing a report to a file: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

import bnguard
from bnguard.errors import UsageError
from bnguard.report.render import ReportOptions, emit


@pytest.fixture(scope="module")
def report() -> bnguard.Report:
    return bnguard.scan(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4,))


@pytest.mark.parametrize("fmt", ["console", "json", "html"])
def test_a_file_is_written_whole(report: bnguard.Report, tmp_path: Path, fmt: str) -> None:
    out = tmp_path / "report.txt"
    assert emit(report, ReportOptions(fmt, out)) == 1
    assert "BN101" in out.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.txt"]


@pytest.mark.parametrize(
    ("fail_on", "ignore", "code"),
    [("error", (), 1), ("warning", (), 1), ("never", (), 0), ("error", ("BN1",), 0), ("warning", ("BN101",), 0)],
)
def test_exit_codes(report: bnguard.Report, tmp_path: Path, fail_on: str, ignore: tuple[str, ...], code: int) -> None:
    assert emit(report, ReportOptions("json", tmp_path / "r", fail_on, (), ignore)) == code


def test_a_missing_folder_is_one_line(report: bnguard.Report, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        emit(report, ReportOptions("json", tmp_path / "none" / "r.json"))


def test_a_full_disk_leaves_the_old_file(
    report: bnguard.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.json"
    out.write_text("old")

    def full(*_: object, **__: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(UsageError, match="No space left"):
        emit(report, ReportOptions("json", out))
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
