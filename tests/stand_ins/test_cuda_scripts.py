"""Scripts that name CUDA, through the command line, held against the same scripts with ``cpu`` in its place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).parent / "no_gpu"
STOOD_IN = [{"what": "cuda", "instead": "the CPU"}]
LINE = "bnguard: cuda is the CPU here, as there is no device that can be used (--no-cuda-stand-in: leave it)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is stood in for where there is a device"),
]


def bnguard(*argv: object, folder: Path = SCRIPTS) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnguard", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def preflight(script: object, *argv: object) -> tuple[int, dict[str, Any]]:
    done = bnguard("preflight", "--format", "json", script, *argv)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def on_the_cpu(script: str, folder: Path) -> Path:
    source = (SCRIPTS / script).read_text(encoding="utf-8")
    for name, instead in ((".cuda(rank)", ""), (".cuda(non_blocking=True)", ""), (".cuda()", ""), ('"cuda"', '"cpu"')):
        source = source.replace(name, instead)
    source = source.replace('"nccl"', '"gloo"').replace("device_ids=[rank], output_device=rank", "")
    source = source.replace("device_ids=[rank]", "").replace("    torch.cuda.set_device(rank)\n", "")
    place = folder / script
    place.write_text(source, encoding="utf-8")
    return place


@pytest.mark.parametrize(("script", "stops"), [("amp.py", True), ("defaults.py", False), ("ranks.py", True)])
def test_preflight_says_what_it_says_of_the_same_script_on_the_cpu(script: str, stops: bool, tmp_path: Path) -> None:
    code, report = preflight(script)
    plain_code, plain = preflight(on_the_cpu(script, tmp_path))
    assert report["forecasts"] == plain["forecasts"]
    assert code == plain_code == (1 if stops else 0)
    assert report["forecasts"][0]["stops"] is stops
    assert report["stood_in"] == STOOD_IN
    assert plain["stood_in"] == []


def test_a_prefetcher_with_a_stream_of_its_own() -> None:
    code, report = preflight("prefetch.py")
    assert (code, report["forecasts"][0]["step"], report["stood_in"]) == (1, 4, STOOD_IN)


def test_the_replicas_that_a_script_names_are_weighed() -> None:
    code, report = preflight("replicas.py")
    forecast = report["forecasts"][0]
    assert code == 1
    assert (forecast["step"], forecast["replica"], forecast["batch_size"]) == (3, 2, 1)
    assert forecast["ground"] == "seen"


def test_layers_that_are_synchronised_hold() -> None:
    code, report = preflight("ranks.py", "synchronised")
    assert (code, report["forecasts"][0]["stops"]) == (0, False)


def test_synchronised_layers_are_those_of_the_whole_batch() -> None:
    done = bnguard("run", "sync.py")
    found = [float(number) for number in re.findall(r"\[(.+?)\]", done.stdout)]  # two ranks may share a line
    assert done.returncode == 0, done.stderr
    assert len(found) == 2
    assert max(found) < 1e-9
    assert done.stderr.count(LINE) == 1


def test_a_script_that_insists_on_a_device_gets_one_claimed() -> None:
    code, report = preflight("insists.py")
    assert (code, report["forecasts"][0]["step"]) == (1, 3)
    assert report["stood_in"] == [{"what": "torch.cuda.is_available()", "instead": "true"}, *STOOD_IN]


LIGHTNING = """
import lightning, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
loader = DataLoader(TensorDataset(torch.randn(9, 4), torch.randint(2, (9,))), batch_size=4)
trainer = lightning.Trainer(accelerator="gpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False)
trainer.fit(Module(), loader)
"""


def test_lightning_with_the_accelerator_gpu(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    (tmp_path / "train.py").write_text(LIGHTNING)
    code, report = preflight(tmp_path / "train.py")
    assert (code, report["forecasts"][0]["step"], report["forecasts"][0]["layer"]) == (1, 3, "net.1")


def test_without_a_stand_in_the_way_out_is_named() -> None:
    done = bnguard("preflight", "--no-cuda-stand-in", "replicas.py")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "  hint: leave out --no-cuda-stand-in, and the CPU stands in for CUDA"


def test_a_run_goes_on_and_says_so_in_one_line() -> None:
    done = bnguard("run", "amp.py")
    assert done.returncode == 1
    assert done.stderr.count(LINE) == 1
    assert "1 (BatchNorm1d(8)) failed: one value per channel" in done.stderr
    assert LINE not in bnguard("run", "--no-cuda-stand-in", "amp.py").stderr


def test_a_run_that_asks_for_nothing_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import torch\nprint(torch.cuda.is_available(), torch.ones(2).to('cpu').sum())")
    done = bnguard("run", "train.py", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False tensor(2.)\n", "")


MODEL = """
import torch
from torch import nn
from torch.utils.data import DataLoader
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.bn = nn.Linear(4, 8, device="cuda"), nn.BatchNorm1d(8).cuda()
    def forward(self, x):
        return self.bn(self.fc(x.cuda())) + 0 * torch.arange(len(x), device="cuda").view(-1, 1)
loader = DataLoader(torch.ones(9, 4, device="cuda"), batch_size=4)
"""
CONFIGURATION = """
models.net = "model.py:Net"
loaders.train = "model.py:loader"
scripts.amp = "amp.py"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "amp.py").write_text((SCRIPTS / "amp.py").read_text())
    (tmp_path / "bnguard.toml").write_text(CONFIGURATION)
    return tmp_path


def test_a_scan_and_an_audit_of_a_target(project: Path) -> None:
    scan = bnguard("scan", "model.py:Net", "--input", "4", "--format", "json", folder=project)
    report = json.loads(scan.stdout)
    assert (report["models"][0]["method"], report["models"][0]["first_failure"]) == ("meta", "bn")
    assert report["stood_in"] == STOOD_IN
    audit = bnguard("audit-loader", "model.py:loader", folder=project)
    assert audit.returncode == 1
    assert "stand-in cuda: the CPU" in audit.stdout
    assert "stand-in cuda: the CPU" in bnguard("scan", "model.py:Net", "--input", "4", folder=project).stdout
    for argv in (("scan", "model.py:Net", "--input", "4"), ("audit-loader", "model.py:loader")):
        assert bnguard(*argv, "--no-cuda-stand-in", folder=project).returncode in (0, 2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_check_of_all_of_it(jobs: int, project: Path) -> None:
    done = bnguard("check", "--jobs", jobs, "--format", "json", folder=project)
    report = json.loads(done.stdout)
    of_script = {**STOOD_IN[0], "what": "amp: cuda"}
    assert (done.returncode, report["problems"], report["stood_in"]) == (1, [], [*STOOD_IN, of_script])
    assert {(f["model"], f["step"]) for f in report["forecasts"]} == {("net", 3), ("amp.net", 3)}


def test_a_check_that_wants_none(project: Path) -> None:
    (project / "bnguard.toml").write_text(f"cuda-stand-in = false\n{CONFIGURATION}")
    for argv in ((), ("--no-cuda-stand-in",)):
        done = bnguard("check", *argv, "--format", "json", folder=project)
        report = json.loads(done.stdout)
        assert done.returncode == 2
        assert {p["entry"] for p in report["problems"]} >= {"loaders.train", "scripts.amp"}
        assert "stood_in" not in report
        (project / "bnguard.toml").write_text(CONFIGURATION)
