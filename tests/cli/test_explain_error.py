"""``bnguard explain-error`` as it is typed: a log in, a diagnosis out, and every kind of input that is none."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bnguard._cli.app import run
from bnguard._explain_error import log_file as logs

ROOT = Path(__file__).parents[2]
LOG = (ROOT / "tests/fixtures/logs/one_value.txt").read_text(encoding="utf-8")


def give(monkeypatch: pytest.MonkeyPatch, data: bytes, *, terminal: bool = False) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal))


def test_a_file_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.log").write_text(LOG, encoding="utf-8")
    assert run(["explain-error", str(tmp_path / "train.log")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("bnguard: bn1 (BatchNorm1d) failed: one value per channel")
    assert "net.py:12" in out
    assert err == ""


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input_is_explained(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, LOG.encode())
    assert run(["explain-error", *arguments]) == 0
    assert "bn1" in capsys.readouterr().out


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, LOG.encode())
    assert run(["explain-error", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["schema"]) == ("explain-error", 1)
    assert (document["diagnosis"]["layer"], document["diagnosis"]["code"]) == ("bn1", "RT101")
    assert document["diagnosis"]["shape"] == [1, 4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_logs_in_other_encodings(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, LOG.replace("█", "é").encode(encoding))
    assert run(["explain-error"]) == 0
    assert "bn1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input is empty"),
        (b" \n\n", "standard input is empty"),
        (b"\x7fELF\0\0\0\1" * 100, "standard input is not text"),
        (bytes(range(128, 256)) * 50, "standard input is not text"),
        (b"Epoch 1 loss 0.5\n", "standard input holds no error that could be explained"),
    ],
)
def test_what_is_no_log(
    data: bytes, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, data)
    assert run(["explain-error"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", f"bnguard: {message}")
    assert err.splitlines()[1].startswith("  hint: ")


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, b"", terminal=True)
    assert run(["explain-error"]) == 2
    assert capsys.readouterr().err.startswith("bnguard: no log is given\n  hint: bnguard explain-error train.log")


@pytest.mark.parametrize(("name", "message"), [("", "is a folder"), ("missing.log", "No such file or directory")])
def test_a_file_that_cannot_be_read(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain-error", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err.splitlines()[0]


def test_only_the_end_of_a_huge_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "MOST", 2**21)
    monkeypatch.setattr(logs, "_CHUNK", 2**16)
    path = tmp_path / "huge.log"
    path.write_text("KeyError: 'early'\n" + "Epoch 1 12%\n" * 300_000 + LOG, encoding="utf-8")
    assert run(["explain-error", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "bn1" in out
    assert err == f"bnguard: {path} is large: only its last 2 MiB are read\n"
    assert len(logs.read_log(str(path)).text) < 2**21 + 2**17


def test_an_unknown_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain-error", "--format", "xml"]) == 2
    assert "--format 'xml' is not known" in capsys.readouterr().err


def test_at_the_end_of_a_pipe() -> None:
    """As it is used: the log comes through a pipe and nothing of torch is imported."""
    script = (
        "import sys; from bnguard._cli.app import run; sys.exit(run(['explain-error']) + 10 * ('torch' in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], input=LOG, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("bnguard: bn1")


def test_the_documentation_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain-error", str(ROOT / "tests/fixtures/logs/one_value.txt")]) == 0
    page = (ROOT / "docs/how-to/explain-an-error.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out in page


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        ('Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nKeyError: "foo"', "nothing in this"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.", "no normalisation layer is in sight"),
    ],
)
def test_other_errors_are_not_blamed_on_a_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, headline: str
) -> None:
    log = tmp_path / "train.log"
    log.write_text(text, encoding="utf-8")
    assert run(["explain-error", str(log)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"bnguard: {headline}")
    assert "which one cannot be told" not in said
