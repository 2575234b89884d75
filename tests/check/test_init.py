"""``--init`` reads source alone, touches nothing of what was there, and writes what the check accepts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bnguard
from bnguard._check.config import read_declarations
from bnguard._check.init import look_through, write_configuration
from bnguard._errors import ConfigError

ROOT = Path(__file__).parents[2]
MODEL = """\
raise SystemExit("importing me is a mistake")
import torch.nn as nn
from torch import nn as other


class Block(nn.Module):
    def __init__(self, width): ...
    def forward(self, x): ...


class Net(other.Module):
    def __init__(self, width=4):
        super().__init__()
        self.block = Block(width)

    def forward(self, x): ...


class Child(Net): ...


class Needs(nn.Module):
    def __init__(self, classes, *, depth, width=3): ...
    def forward(self, x): ...


class FocalLoss(nn.Module):
    def forward(self, x, y): ...


class Registry(nn.Module): ...


class Other: ...
"""
TRAIN = """\
import argparse
from torch.utils.data import DataLoader
from models import Net

parser = argparse.ArgumentParser()
parser.add_argument("-b", "--batch-size", type=int, default=64)
args = parser.parse_args()
VAL = 12
train_loader = DataLoader(data, batch_size=args.batch_size, shuffle=True, drop_last=True)
loaders = {"val": DataLoader(data, VAL), "odd": DataLoader(data, len(data) // 7)}
single: object = DataLoader(data)
bucketed = DataLoader(data, batch_sampler=buckets)
from torch.utils.data import DataLoader as DL
extra_loader = DL(data, 7)


def make_test_loader():
    return torch.utils.data.DataLoader(data, batch_size=5)


loss.backward()
"""
RUNS = """\
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    def forward(self, x):
        return super().forward(x)
class Second(Net):
    def __init__(self, classes): super().__init__()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODEL)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "train.py").write_text(TRAIN)
    (tmp_path / "broken.py").write_text("class (")
    for skipped in ("tests", ".hidden", "env"):
        (tmp_path / skipped).mkdir()
        (tmp_path / skipped / "x.py").write_text(MODEL)
    return tmp_path


def test_what_is_found(folder: Path):
    found = look_through(folder)
    assert [(m.file, m.name, m.needs) for m in found.models] == [
        ("models.py", "Net", ()), ("models.py", "Child", ()), ("models.py", "Needs", ("classes", "depth")),
    ]  # fmt: skip
    assert [(x.name, x.batch_size, x.drop_last) for x in found.loaders] == [
        ("train", 64, True), ("single", 1, False), ("bucketed", 1, False), ("extra", 7, False), ("val", 12, False),
        ("odd", None, False), ("test", 5, False),
    ]  # fmt: skip
    assert {x.file for x in found.loaders} == {"pkg/train.py"}
    assert found.scripts == ("pkg/train.py",)


def test_a_file_of_its_own(folder: Path, golden):
    said = write_configuration(folder)
    assert (
        said == "bnguard.toml: written from 3 models, 7 loaders, 1 script; look at each TODO, then run `bnguard check`"
    )
    text = (folder / "bnguard.toml").read_text(encoding="utf-8")
    golden("check-init.toml", text)
    what = read_declarations(folder / "bnguard.toml")
    assert [m.name for m in what.models] == ["net", "child"]  # the third waits for its arguments
    assert {x.name: x.options["batch_size"] for x in what.loaders} == {
        "train-TODO": 64, "single-TODO": 1, "extra-TODO": 7, "val-TODO": 12, "odd-TODO": 32, "test-TODO": 5,
    }  # fmt: skip
    assert what.loaders[0].feeds == ("net",)  # the only one that the script names
    assert [s.program for s in what.scripts] == ["pkg/train.py"]
    assert text.index("[scripts.") < text.index("[models.") < text.index("[loaders.")  # what needs no number first
    uncommented = [re.sub(r"^# (?=\[|\w+ = )", "", line) for line in text.splitlines()]
    (folder / "bnguard.toml").write_text("\n".join(uncommented))
    assert read_declarations(folder / "bnguard.toml").models[2].settings == {"classes": 0, "depth": 0}


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_at_the_end_of_pyproject(folder: Path, ending: str):
    project = folder / "pyproject.toml"
    before = ("[project]\nname = 'é'  # mine".replace("\n", ending or "\n") + ending).encode()
    project.write_bytes(before)
    write_configuration(folder)
    after = project.read_bytes()
    assert after.startswith(before)
    assert (b"\r\n" in after) == (ending == "\r\n")
    assert after.count(b"\r\n") in (0, after.count(b"\n"))
    assert [m.name for m in read_declarations(project).models] == ["net", "child"]
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".py" and p.is_file()) == ["pyproject.toml"]
    with pytest.raises(ConfigError, match=r"pyproject.toml has a \[tool.bnguard\] already"):
        write_configuration(folder)
    assert project.read_bytes() == after


def test_refusals(tmp_path: Path):
    with pytest.raises(ConfigError, match="no model class and no DataLoader call"):
        write_configuration(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "pyproject.toml").write_text("[project\n")
    with pytest.raises(ConfigError, match=r"pyproject.toml, line 1"):
        write_configuration(tmp_path)
    (tmp_path / "bnguard.toml").write_text("")
    with pytest.raises(ConfigError, match="is there already"):
        write_configuration(tmp_path)


def test_what_is_written_is_accepted(tmp_path: Path):
    (tmp_path / "net.py").write_text(RUNS)
    (tmp_path / "train.py").write_text("from net import Net\ntrain_loader = DataLoader(data, batch_size=8)\n")
    write_configuration(tmp_path)
    report = bnguard.check(tmp_path / "bnguard.toml", jobs=1)
    assert report.problems == ()
    assert [(f.model, f.loader, f.stops) for f in report.forecasts] == [("net", "train-TODO", False)]
    (finding,) = [f for f in report.findings if f.loader is not None]
    assert finding.message.startswith("train-TODO: ")  # in every report it reads as what it is


def test_nothing_is_imported(folder: Path):
    script = (
        "import sys; from bnguard._cli.app import run; code = run(['check', '--init']);"
        "assert code == 0, code; assert 'torch' not in sys.modules and 'models' not in sys.modules"
    )
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=False, env=here
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("bnguard.toml: written from")


def written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    write_configuration(folder)
    read_declarations(folder / "bnguard.toml")
    return (folder / "bnguard.toml").read_text(encoding="utf-8")


NET = "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x): ...\n"


def test_all_of_them_are_written(tmp_path: Path):
    lines = [f"loader_{i} = DataLoader(data, {i + 2})\n" for i in range(25)]
    nets = [NET.replace("Net", f"Net{i}") for i in range(25)]
    text = written(tmp_path, {"train.py": "".join(lines), "nets.py": "".join(nets)})
    assert text.count("\n[loaders.") == 25
    assert text.count("\n[models.") == 25


def test_classes_of_one_name_in_two_files(tmp_path: Path):
    part = (
        NET
        + "class Whole(nn.Module):\n    def __init__(self):\n        self.net = Net()\n    def forward(self, x): ...\n"
    )
    text = written(tmp_path, {"a.py": NET, "b.py": NET, "c.py": part})
    assert re.findall(r'^target = "(.*)"', text, re.MULTILINE) == ["a.py:Net", "b.py:Net", "c.py:Whole"]


def test_pairs_stand_in_one_file(tmp_path: Path):
    files = {
        "a.py": f"{NET}loader = DataLoader(data, 4)\n",
        "b.py": f"{NET.replace('Net', 'Other')}",
        "train.py": "from b import Other\nother_loader = DataLoader(data, 5)\n",
        "alone.py": "alone_loader = DataLoader(data, 6)\n",
    }
    text = written(tmp_path, files)
    feeds = dict(re.findall(r"^\[loaders\.(.*?)-TODO\].*?^feeds = (\[.*?\])", text, re.MULTILINE | re.DOTALL))
    assert feeds == {"loader": '["net"]', "other": '["other"]', "alone": "[]"}


def test_a_loader_without_sizes_is_named(tmp_path: Path):
    text = written(
        tmp_path, {"n.py": NET, "t.py": "a = DataLoader(d, batch_sampler=s)\nb = DataLoader(d, batch_size=None)\n"}
    )
    assert '# target = "t.py:a"  # TODO: its batches come from a batch_sampler' in text
    assert '# target = "t.py:b"  # TODO: its dataset makes the batches' in text


IMPORTS = "from torchvision.models import resnet18\n"
FACTORIES = """
def build():
    net = Net()
    return net.to("cpu")

def build_again(): return build()

def annotated(width=3) -> nn.Module: return _hidden(width)

def _hidden(width): return Net()

def train():
    net = Net()
    loss.backward()
    return net

def of_others(): return resnet18(num_classes=3)

def sized(classes): return nn.Sequential(Net(), nn.Linear(4, classes))
"""


def test_factories_are_those_of_a_scan(tmp_path: Path):
    """What is written is what a scan, which runs the file, takes for a factory as well."""
    import importlib.util

    from bnguard._models.discover import candidates

    found = re.findall(
        r'^(?:# )?target = "f.py:(.*)"', written(tmp_path, {"f.py": IMPORTS + NET + FACTORIES}), re.MULTILINE
    )
    spec = importlib.util.spec_from_file_location("f_of_a_scan", tmp_path / "f.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["f_of_a_scan"] = module
    scanned = [c.name for c in candidates(module) if c.kind == "factory"]
    del sys.modules["f_of_a_scan"]
    assert found == scanned == ["build", "build_again", "annotated", "of_others", "sized"]
