"""Which findings of a report are told to be fixable: those for which ``fix`` has an edit, and no other."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import bnguard
from bnguard._cli.app import run
from bnguard._facts.findings import Finding, Report, Severity, SourceEdit, fix_command
from bnguard._facts.models import SourceLine
from bnguard._fix.told.reports import with_edits
from bnguard._report.render import render_as
from bnguard._report.words import found

HEAD = "from torch.utils.data import DataLoader\n"


def audited(file: str, line: int, **numbers: object) -> Report:
    """The report on a loader that this line makes, as preflight sees it."""
    report = bnguard.audit_loader(**{"n": 9, "batch_size": 8} | numbers)
    place = SourceLine(file, line)
    loaders = tuple(replace(fact, source=place) for fact in report.loaders)
    return replace(report, loaders=loaders, findings=[replace(f, loader_line=place) for f in report.findings])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


KNOWN = [
    ("train_loader = DataLoader(d, 8)\n", "bnguard fix train.py --write"),
    ("x = DataLoader(d, 8)\n", "bnguard fix train.py --train x --write"),
    ("self.x = DataLoader(d, 8)\n", "bnguard fix train.py --train 2 --write"),
    ("x = DataLoader(\n    d,\n    8,\n)\n", "bnguard fix train.py --train x --write"),
    ("x = DataLoader(d, 8)\nx = DataLoader(e, 8)\n", "bnguard fix train.py --train 2 --write"),
]


@pytest.mark.parametrize(("text", "command"), KNOWN)
def test_the_command_makes_the_edit(folder, text, command, capfd):
    (folder / "train.py").write_text(HEAD + text)
    report = with_edits(audited("train.py", 2))
    assert report.fix_command == command
    assert len(report.fixable) == 1
    run(shlex.split(command)[1:])
    capfd.readouterr()
    assert "merge_tail(DataLoader(" in (folder / "train.py").read_text().split("\n", 2)[2]
    assert with_edits(audited("train.py", 3)).fix_command is None


NOT_KNOWN = [
    "train_loader = bnguard.repair.merge_tail(DataLoader(d, 8))\n",
    "bnguard = 3\ntrain_loader = DataLoader(d, 8)\n",
    "train_loader = DataLoader(d, 8, drop_last=True)\n",
    "train_loader = DataLoader(d, 8, drop_last=flag)\n",
    "train_loader = MyLoader(d, 8)\n",
    "train_loader = DataLoader(d, 8\n",
    "",
]


@pytest.mark.parametrize("text", NOT_KNOWN)
def test_what_fix_leaves_is_not_promised(folder, text):
    (folder / "train.py").write_text(f"import bnguard\n{HEAD}{text}" if "repair" in text else HEAD + text)
    line = text.count("\n") + (2 if "repair" in text else 1)
    assert with_edits(audited("train.py", line), "train.py").fix_command is None


def test_no_file_no_promise(folder):
    assert with_edits(audited("gone.py", 2)).fix_command is None
    assert with_edits(bnguard.audit_loader(n=9, batch_size=8)).fix_command is None


def test_where_merging_is_no_way_out(folder):
    (folder / "train.py").write_text(f"{HEAD}train_loader = DataLoader(d, size)\n")
    assert with_edits(audited("train.py", 2, batch_size=1)).fix_command is None
    assert with_edits(audited("train.py", 2, n=8)).fix_command is None  # nothing is found
    assert with_edits(audited("train.py", 2, names=["val"])).fix_command is None  # it evaluates


def test_the_file_that_calls_goes_with_it(folder):
    (folder / "data.py").write_text(f"{HEAD}def make(d):\n    return DataLoader(d, 8)\n")
    (folder / "run.py").write_text("from data import make\ntrain = make(a)\nval = make(b)\n")
    report = with_edits(audited("data.py", 3, names=["train"]), "run.py")
    assert report.fix_command == "bnguard fix run.py data.py --write"


def test_one_command_for_several_files():
    edits = [SourceEdit("a.py"), SourceEdit("b c.py", train="x"), SourceEdit("a.py", repair="freeze", model="net")]
    assert fix_command(edits) == (
        "bnguard fix a.py 'b c.py' --train 'b c.py:x' --model a.py:net --model-line freeze --write"
    )
    assert fix_command([]) is None


def a_finding(severity: Severity, edit: SourceEdit | None = None) -> Finding:
    return Finding("DL101", severity, "x", loader="train", edit=edit)


@pytest.mark.parametrize(
    ("findings", "text"),
    [
        ([a_finding(Severity.ERROR)], None),
        ([a_finding(Severity.ERROR, SourceEdit("t.py"))], "Found 1 error, fixable with"),
        ([a_finding(Severity.ERROR, SourceEdit("t.py"))] * 2, "Found 2 errors, fixable with"),
        (
            [a_finding(Severity.ERROR, SourceEdit("t.py")), a_finding(Severity.ERROR)],
            "Found 2 errors, 1 fixable with",
        ),
        (
            [a_finding(Severity.WARNING, SourceEdit("t.py")), a_finding(Severity.ERROR), a_finding(Severity.NOTE)],
            "Found 1 error, 1 warning and 1 note, 1 fixable with",
        ),
    ],
)
def test_the_total(findings, text):
    assert found(Report("check", findings=findings)) == text


@pytest.mark.parametrize("folder_name", ["", "a/very/deep/folder/" * 5])
def test_the_command_stays_in_one_piece(folder_name):
    edit = SourceEdit(f"{folder_name}train.py", train="12")
    report = Report("check", findings=[a_finding(Severity.ERROR, edit)])
    lines = render_as("console", report, width=80).splitlines()
    assert lines[-1].endswith(f"bnguard fix {folder_name}train.py --train 12 --write")
    markdown = render_as("summary", report)
    assert f"```sh\nbnguard fix {folder_name}train.py --train 12 --write\n```" in markdown
    assert f"bnguard fix {folder_name}train.py --train 12 --write" in render_as("html", report)


def test_a_target_of_an_audit(folder, capsys):
    text = f"{HEAD}train_loader = DataLoader(range(9), 8)\nother = DataLoader(range(9), 8)\n"
    (folder / "train.py").write_text(text)
    run(["audit-loader", "train.py:train_loader"])
    assert "Found 1 error, fixable with: bnguard fix train.py --write\n" in capsys.readouterr().out
    run(["audit-loader", "train.py:other"])
    assert "fixable with: bnguard fix train.py --train other --write\n" in capsys.readouterr().out
