"""What is declared is carried out: held against real loops, each model built and traced once, one report."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from configurations import make
from rich.console import Console
from torch import nn

import bnguard
from bnguard._cli.app import run
from bnguard._errors import BnguardError, ConfigError, UsageError
from bnguard._facts.findings import Finding, Problem, Report, Severity
from bnguard._report.formats.console import draw
from bnguard._trace.trace import Tracer

WHOLE = """\
[models]
alone = "models.py:Holds"
[models.net]
target = "models.py:Net"
set = { width = 5 }
[models.holds]
target = "models.py:Holds"
input = "3,8,8"
set = { params = { hidden = 6 } }
[loaders.live]
target = "data.py:loader"
feeds = ["net", "holds"]
[loaders.both]
target = "data.py:both"
feeds = "net"
[loaders.numbers]
n = 17
batch-size = 8
feeds = ["holds"]
[loaders.split]
n = 21
batch-size = 4
split = "0.8,0.2"
feeds = []
"""


def real_stop(model: nn.Module, batches: list[int]) -> int | None:
    """Return the step at which a real loop raises."""
    model.train()
    for step, size in enumerate(batches, 1):
        try:
            model(torch.randn(size, 3, 8, 8))
        except ValueError:
            return step
    return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Report:
    return bnguard.check(make(tmp_path_factory.mktemp("whole"), WHOLE), jobs=1)


def test_forecasts_are_true(whole: Report, tmp_path: Path):
    make(tmp_path, WHOLE)
    scope: dict = {}
    exec((tmp_path / "models.py").read_text(), scope)
    net, holds = scope["Net"](5), scope["Holds"]()
    found = {(f.model, f.loader): f for f in whole.forecasts}
    assert list(found) == [
        ("net", "live"), ("net", "both.train"), ("net", "both.val"), ("holds", "live"), ("holds", "numbers"),
    ]  # fmt: skip
    for (model, loader), batches in {("net", "live"): [8, 1], ("net", "both.train"): [4, 4, 1]}.items():
        assert found[model, loader].step == real_stop(net, batches)
        assert found[model, loader].layer == "head.1"
    assert found["net", "both.val"].stops is False
    assert found["net", "both.val"].mode == "eval"
    for loader, batches in {"live": [8, 1], "numbers": [8, 8, 1]}.items():
        assert found["holds", loader].stops is False
        assert real_stop(holds, batches) is None


def test_one_report(whole: Report):
    assert whole.command == "check"
    assert [x.name for x in whole.loaders] == ["live", "both.train", "both.val", "numbers", "split.train", "split.val"]
    assert [(m.target, m.mode) for m in whole.models] == [
        ("net", "train"), ("net", "eval"), ("holds", "train"), ("alone", "train"),
    ]  # fmt: skip
    assert {m.target: m.layers[-1].num_features for m in whole.models} == {"net": 5, "holds": 6, "alone": 4}
    errors = [(f.code, f.loader, f.model) for f in whole.findings if f.severity is Severity.ERROR]
    assert errors == [("DL101", "live", "net"), ("DL101", "both.train", "net"), ("DL101", "split.train", None)]
    notes = {(f.code, f.loader, f.model) for f in whole.findings if f.severity is Severity.NOTE}
    assert {("DL101", "live", "holds"), ("DL101", "numbers", "holds"), ("DL102", "both.val", "net")} <= notes
    assert ("BN102", "alone") in [(f.code, f.model) for f in whole.findings]  # scanned at batch size 1
    assert {way.loader for way in whole.suggestions} == {"live", "both.train", "split.train"}
    assert not whole.problems
    assert not whole.ok
    assert whole.torch == torch.__version__
    document = whole.to_dict()
    assert [k for k in document if k not in ("bnguard", "schema", "torch", "command")] == [
        "models", "loaders", "suggestions", "forecasts", "problems", "findings", "summary",
    ]  # fmt: skip


def test_a_loader_that_feeds_nothing_is_judged_as_by_an_audit(tmp_path: Path):
    file = make(tmp_path, "[loaders.split]\nn = 21\nbatch-size = 4\nsplit = '0.8,0.2'\n")
    report = bnguard.check(file)
    audit = bnguard.audit_loader(n=21, batch_size=4, split="0.8,0.2")
    assert [replace(x, name=x.name.removeprefix("split.")) for x in report.loaders] == list(audit.loaders)
    assert [f.code for f in report.findings] == [f.code for f in audit.findings] == ["DL101"]
    assert [s.kind for s in report.suggestions] == [s.kind for s in audit.suggestions]
    assert report.torch is None


def test_every_model_is_built_once_and_each_size_traced_once(tmp_path: Path, monkeypatch):
    config = "[models.holds]\ntarget = 'models.py:Holds'\ninput = '3,8,8'\n" + "".join(
        f"[loaders.a{i}]\nn = {n}\nbatch-size = 8\nmode = '{mode}'\n"
        for i, (n, mode) in enumerate([(17, "train"), (24, "train"), (25, "train"), (17, "eval"), (35, "eval")])
    )
    file = make(tmp_path, config)
    built = tmp_path / "built"
    source = (tmp_path / "models.py").read_text()
    (tmp_path / "models.py").write_text(source.replace("self.conv =", "open('built', 'a').write('x'); self.conv ="))
    seen: Counter = Counter()
    real = Tracer.trace

    def counted(self, inputs, batch_size, method):
        seen[self.mode, batch_size, method] += 1
        return real(self, inputs, batch_size, method)

    monkeypatch.setattr(Tracer, "trace", counted)
    report = bnguard.check(file, jobs=1)
    assert [f.stops for f in report.forecasts] == [False] * 5
    assert seen == {(m, n, "meta"): 1 for m, n in [("train", 8), ("train", 1), ("eval", 8), ("eval", 1), ("eval", 3)]}
    assert built.read_text() == "x"


def test_several_processes_say_the_same(whole: Report, tmp_path: Path):
    told: list[tuple[int, int]] = []
    in_two = bnguard.check(make(tmp_path, WHOLE), jobs=2, progress=lambda *counts: told.append(counts))
    assert in_two.to_dict() == whole.to_dict()
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [80, 50])
def test_the_page_fits_the_terminal(whole: Report, width: int, encoding: str):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    unread = replace(whole, problems=[Problem("models.x", "no such file " * 9, "look\n  again", "Traceback\n  File x")])
    draw(unread, Console(file=file, width=width, highlight=False, color_system=None), quiet=False)
    file.flush()
    text = raw.getvalue().decode(encoding)
    assert [line for line in text.splitlines() if len(line) > width] == []
    assert (
        text.index("net: training on live") < text.index("models.x: not checked") < text.index("holds: does not stop")
    )
    for said in ("alone: no layer fails", "split.val: no batch of one", "in net, built at models.py", "hint: look"):
        assert said in text


def test_what_cannot_be_carried_out_hides_nothing(tmp_path: Path):
    models = "".join(f"{n.lower()} = 'models.py:{n}'\n" for n in ("Exits", "Broken", "Crashes", "Net", "Nowhere"))
    loaders = "[loaders.bad]\ntarget = 'data.py:nothing'\nfeeds = ['net', 'broken']\n[loaders.n]\nn=9\nbatch-size=8\n"
    feeds = "feeds = ['exits', 'broken', 'crashes', 'net']\n"
    report = bnguard.check(make(tmp_path, f"[models]\n{models}{loaders}{feeds}"), jobs=1 + 1)
    assert [(f.model, f.loader, f.step) for f in report.forecasts] == [("net", "n", 2)]
    told = {p.entry: p for p in report.problems}
    assert list(told) == ["models.exits", "loaders.bad", "models.broken", "models.crashes", "models.nowhere"]
    assert len(report.problems) == 5
    assert told["models.exits"].error == "its process ended with exit code 7 before there was a result"
    assert told["models.crashes"].error == "its process was killed by SIGSEGV before there was a result"
    assert told["models.broken"].error == "models.py raised RuntimeError: no such backbone"
    assert 'File "' in told["models.broken"].detail
    assert "has no 'nothing'" in told["loaders.bad"].error
    assert told["models.nowhere"].error == "models.py has no 'Nowhere'"
    assert not report.ok


def test_entries(tmp_path: Path):
    file = make(tmp_path, WHOLE)

    def pairs(*names: str) -> tuple[list, list]:
        report = bnguard.check(file, entries=names, jobs=1)
        return [(f.model, f.loader) for f in report.forecasts], [x.name for x in report.loaders]

    assert pairs("holds") == ([("holds", "live"), ("holds", "numbers")], ["live", "numbers"])
    assert pairs("loaders.live") == ([("net", "live"), ("holds", "live")], ["live"])
    assert pairs("split") == ([], ["split.train", "split.val"])
    assert pairs("alone") == ([], [])
    with pytest.raises(UsageError, match="declares no entry 'nett'") as caught:
        pairs("nett")
    assert caught.value.hint == "did you mean net?"


def test_numbers_that_mean_nothing_are_errors_of_the_configuration(tmp_path: Path):
    file = make(tmp_path, "[loaders.train]\nn = 9\nbatch-size = 0\n")
    with pytest.raises(ConfigError, match=r"bnguard.toml: loaders.train: batch_size is 0; it must be at least 1"):
        bnguard.check(file)
    with pytest.raises(UsageError, match="0 processes"):
        bnguard.check(make(tmp_path, WHOLE), jobs=0)


def test_the_process_is_left_as_it_was(tmp_path: Path):
    file = make(tmp_path, WHOLE)
    before = Path.cwd(), list(sys.path), set(sys.modules), dict(os.environ), torch.get_rng_state()
    bnguard.check(file, jobs=1)
    after = Path.cwd(), list(sys.path), set(sys.modules), dict(os.environ), torch.get_rng_state()
    assert after[:2] == before[:2]
    assert not {m for m in after[2] - before[2] if not m.startswith(("bnguard", "torch"))} & {"models", "data"}
    assert after[3] == before[3]
    assert torch.equal(after[4], before[4])


def test_the_file_chooses_the_codes(tmp_path: Path):
    report = bnguard.check(make(tmp_path, "select = 'DL102'\n[loaders.train]\nn = 9\nbatch-size = 8\n"))
    assert report.findings == ()


# -------------------------------------------------------------------------------------------- scripts

SCRIPTS = (
    "[scripts.gan]\nscript = 'train.py'\nargs = ['--fast']\nstub = 'plots'\ntimeout = 5\n"
    "[scripts.other]\nmodule = 'pkg.train'\n"
)


def test_scripts(tmp_path: Path, monkeypatch):
    calls = []

    def stand_in(script, args=(), *, module=False, budget=30.0, timeout=600.0, stubs=(), progress=None):
        calls.append((script, args, module, timeout, stubs, Path.cwd()))
        if module:
            raise BnguardError("it never trains", hint="is it the right one?", detail="Traceback …")
        forecast = bnguard.forecast(
            nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192)), {"n": 9, "batch_size": 8}, (3, 8, 8)
        )
        return replace(
            forecast, command="preflight", findings=(*forecast.findings, Finding("RT101", Severity.ERROR, "x"))
        )

    monkeypatch.setattr("bnguard._preflight.launch.preflight", stand_in)
    report = bnguard.check(make(tmp_path, f"{SCRIPTS}[loaders.train]\nn = 16\nbatch-size = 8\n"), jobs=1)
    assert calls == [
        ("train.py", ("--fast",), False, 5, ("plots",), tmp_path),
        ("pkg.train", (), True, 600.0, (), tmp_path),
    ]
    assert [(f.model, f.loader, f.step) for f in report.forecasts] == [("gan.Sequential", "gan.train", 2)]
    assert [x.name for x in report.loaders] == ["train", "gan.train"]
    assert {way.loader for way in report.suggestions} == {"gan.train"}
    lone, failed = report.findings
    assert (lone.model, lone.loader, lone.message[:10]) == ("gan.Sequential", "gan.train", "gan.train:")
    assert (failed.model, failed.loader, failed.message) == (None, None, "x.")
    assert [p.to_dict() for p in report.problems] == [
        {
            "entry": "scripts.other",
            "error": "it never trains",
            "hint": "is it the right one?",
            "detail": "Traceback …",
        }
    ]


TRAIN = """\
import os, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
train_loader = DataLoader(TensorDataset(torch.randn(int(sys.argv[1]), 3)), batch_size=2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for (x,) in train_loader:
    model(x).sum().backward()
    optimizer.step()
"""


def test_a_real_script_beside_a_model(tmp_path: Path):
    entries = "".join(f"[scripts.of{n}]\nscript = 'train.py'\nargs = ['{n}']\n" for n in (5, 6))
    file = make(tmp_path, f"{entries}[scripts.none]\nscript = 'data.py'\n[loaders.n]\nn = 4\nbatch-size = 2\n")
    (tmp_path / "train.py").write_text(TRAIN)
    report = bnguard.check(file, jobs=2)
    assert [(f.model, f.loader, f.step, f.layer) for f in report.forecasts] == [
        ("of5.model", "of5.train_loader", 3, "1"),
        ("of6.model", "of6.train_loader", None, None),
    ]
    real = subprocess.run([sys.executable, "train.py", "5"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Expected more than 1 value per channel" in real.stderr
    assert [(p.entry, bool(p.hint)) for p in report.problems] == [("scripts.none", True)]
    assert [x.name for x in report.loaders] == ["n", "of5.train_loader", "of6.train_loader"]


@pytest.mark.parametrize(("more", "code"), [("", 2), ("allow-unknown = true\n", 0)])
def test_a_training_loader_that_is_not_known_makes_the_exit_code(tmp_path: Path, more: str, code: int, capsys):
    file = tmp_path / "bnguard.toml"
    file.write_text(
        f'[models.net]\ntarget = "torchvision.models:resnet18"\n{more}[loaders.train]\nn = 9\nbatch-size = 8\n'
    )
    assert run(["check", "--config", str(file), "--jobs", "1"]) == code
    assert "? net: not known whether training on train stops" in capsys.readouterr().out
