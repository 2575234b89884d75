"""The CPU in the place of CUDA: what is asked for gets it, the truth stays, and everything is put back."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.data import DataLoader, TensorDataset

import bnguard
from bnguard import _private_torch as private
from bnguard._stand_ins import StandIns, StoodIn, cuda, standing_in
from bnguard._stand_ins.cuda import device

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is stood in for where there is a device")
CPU = torch.device("cpu")


@pytest.fixture
def asked():
    with standing_in(StandIns(cuda=True)) as found:
        yield found


MOVES: dict[str, Any] = {
    "cuda()": lambda x: x.cuda(),
    "cuda(1)": lambda x: x.cuda(1, non_blocking=True),
    "to(text)": lambda x: x.to("cuda:0", non_blocking=True),
    "to(device)": lambda x: x.to(torch.device("cuda"), torch.float64),
    "to(number)": lambda x: x.to(0),
    "to(device=)": lambda x: x.to(device="cuda", dtype=torch.float64),
    "module": lambda x: next(nn.Linear(2, 2).cuda().parameters()),
    "module.to": lambda x: next(nn.Linear(2, 2).to("cuda:3").parameters()),
    "module(device=)": lambda x: next(nn.Linear(2, 2, device="cuda").parameters()),
    "to_empty": lambda x: next(nn.Linear(2, 2, device="meta").to_empty(device="cuda").parameters()),
    "zeros": lambda x: torch.zeros(2, device="cuda"),
    "tensor": lambda x: torch.tensor([1.0], device=torch.device("cuda:1"), pin_memory=False),
    "arange": lambda x: torch.arange(3, device=0),
    "like": lambda x: torch.randn_like(x, device="cuda"),
    "new": lambda x: x.new_zeros(3, device="cuda"),
    "type": lambda x: x.type("torch.cuda.DoubleTensor"),
    "type by class": lambda x: x.type(torch.cuda.HalfTensor),
    "generator": lambda x: torch.randn(2, generator=torch.Generator(device="cuda"), device="cuda"),
    "storage": lambda x: torch.tensor(x.untyped_storage().cuda().tolist()),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_asks_for_cuda_gets_the_cpu(name: str, asked: list[StoodIn]) -> None:
    assert MOVES[name](torch.ones(2, 2)).device == CPU
    if name != "type by class":  # nothing of bnguard is asked there
        assert asked == [StoodIn("cuda", "the CPU")]


def test_other_devices_are_left_alone(asked: list[StoodIn]) -> None:
    x = torch.ones(2)
    assert x.to("meta").device.type == torch.zeros(2, device="meta").device.type == "meta"
    assert x.to(torch.float64).dtype == torch.float64
    assert x.to(torch.ones(1, dtype=torch.int64)).dtype == torch.int64
    with torch.device("meta"):
        assert torch.zeros(2).is_meta
    with pytest.raises(RuntimeError, match="Invalid device"):
        x.cuda("cpu")
    assert torch.zeros(2, device="meta").cuda().is_meta, "a tensor without values stays one"
    assert not asked or asked == [StoodIn("cuda", "the CPU")]


def test_defaults_for_new_tensors(asked: list[StoodIn]) -> None:
    with torch.device("cuda"):
        assert torch.ones(2).device == CPU
    torch.set_default_device("cuda")
    assert torch.ones(2).device == CPU
    torch.set_default_device(None)
    torch.set_default_tensor_type("torch.cuda.DoubleTensor")
    assert torch.ones(2).dtype == torch.float64
    torch.set_default_tensor_type(torch.cuda.FloatTensor)
    assert torch.cuda.FloatTensor(2, 3).shape == (2, 3)
    assert isinstance(torch.ones(2), torch.cuda.FloatTensor)
    assert isinstance(torch.default_generator, torch.Generator)


@pytest.mark.parametrize(
    "place", [None, "cuda", torch.device("cuda:1"), {"cpu": "cuda:0"}, lambda s, _: s.cuda(), lambda s, _: s], ids=str
)
def test_a_file_is_loaded(place: Any, asked: list[StoodIn]) -> None:
    file = io.BytesIO()
    torch.save({"weight": torch.arange(3)}, file)
    file.seek(0)
    assert torch.load(file, map_location=place)["weight"].tolist() == [0, 1, 2]


def test_a_file_that_was_saved_on_cuda_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    file = io.BytesIO()
    torch.save(torch.arange(3), file)
    for way in ({}, {"map_location": "cuda"}):
        file.seek(0)
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(file, **way)
        file.seek(0)
        with standing_in(StandIns(cuda=True)) as found:
            assert torch.load(file, **way).tolist() == [0, 1, 2]
        assert found == [StoodIn("cuda", "the CPU")]


def test_what_torch_cuda_offers(asked: list[StoodIn]) -> None:
    torch.cuda.set_device("cuda:0")
    torch.cuda.manual_seed_all(0)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.current_device() == torch.cuda.max_memory_allocated() == 0
    assert torch.cuda.memory_stats()["allocated_bytes.all.peak"] == 0
    assert torch.cuda.get_device_properties(0).name == torch.cuda.get_device_name()
    assert torch.cuda.get_device_capability() >= (7, 0)
    free, total = torch.cuda.mem_get_info()
    assert free == total == torch.cuda.get_device_properties("cuda").total_memory
    stream, start, end = torch.cuda.Stream(), torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    with torch.cuda.stream(stream), torch.cuda.device(0), torch.cuda.nvtx.range("step"):
        x = torch.ones(2).pin_memory().cuda(non_blocking=True)
    torch.cuda.current_stream().wait_stream(stream)
    x.record_stream(torch.cuda.current_stream())
    end.record(stream)
    torch.cuda.synchronize()
    assert start.elapsed_time(end) >= 0
    assert stream.query()
    torch.cuda.cudart().cudaProfilerStart()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        assert (x + 1).tolist() == [2, 2]
    with torch.autocast("cuda", enabled=False):
        scaler = torch.amp.GradScaler("cuda", enabled=False)
        scaler.scale(x.sum().requires_grad_()).backward()
    torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[0]):
        torch.rand(1, device="cuda")


def test_a_thread_gets_the_cpu_too(asked: list[StoodIn]) -> None:
    made: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: made.append(torch.zeros(2, device="cuda") + torch.ones(2).cuda()))
    thread.start()
    thread.join()
    assert made[0].tolist() == [1, 1]


def test_the_truth_is_told_unless_a_device_is_claimed(asked: list[StoodIn]) -> None:
    assert not cuda.was_denied()
    assert (torch.cuda.is_available(), torch.cuda.device_count()) == (False, 0)
    assert cuda.was_denied()
    assert asked == []


def test_a_claimed_device_is_there_for_everybody_but_torch() -> None:
    with standing_in(StandIns(cuda=True, cuda_claimed=True)) as found:
        assert (torch.cuda.is_available(), torch.cuda.device_count()) == (True, 1)
        assert found == [StoodIn("torch.cuda.is_available()", "true")]
        loader = DataLoader(TensorDataset(torch.ones(3)), pin_memory=True)
        with pytest.warns(UserWarning, match="no accelerator"):
            assert len(list(loader)) == 3


# ---------------------------------------------------------------------------------------- several devices


class Sees(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, scale: float = 1.0, *, more: Any = None) -> Any:
        self.seen.append(len(x))
        return {"y": x * scale, "loss": x.sum(), "same": more}


@pytest.mark.parametrize(("samples", "pieces"), [(8, [2, 2, 2, 2]), (5, [2, 2, 1]), (9, [3, 3, 3]), (1, [1])])
def test_replicas_get_their_pieces_one_after_the_other(samples: int, pieces: list[int], asked: list[StoodIn]) -> None:
    net = nn.DataParallel(Sees(), device_ids=[0, 1, 2, 3], output_device=0).cuda()
    x = torch.arange(samples * 2.0).view(samples, 2)
    given = net(x, 2.0, more={"z": [x]})
    assert net.module.seen == pieces
    assert torch.equal(given["y"], x * 2)
    assert torch.equal(given["same"]["z"][0], x)
    assert given["loss"].shape == (() if samples == 1 else (len(pieces),))
    assert net.device_ids == [0, 1, 2, 3]
    nn.parallel.data_parallel(net.module, x, device_ids=[0, 1])
    assert net.module.seen[len(pieces) :] == [len(part) for part in x.chunk(2)]


def test_a_batch_is_not_split_where_no_devices_are_named(asked: list[StoodIn]) -> None:
    net = nn.DataParallel(Sees())
    net(torch.ones(8, 2))
    assert net.module.seen == [8]
    assert asked == []


# ------------------------------------------------------------------------------------ compiled and traced code


class Net(nn.Module):
    """Names CUDA in every way within its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(4, 8), nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.cuda()
        rows = torch.arange(x.shape[0], device="cuda").view(-1, 1)
        noise = torch.zeros_like(x[:, :1], device=torch.device("cuda")) + torch.zeros(8, device="cuda:0")
        return self.bn(self.fc(x.to("cuda:0"))) + 0 * rows + noise


def test_torchscript_finds_the_functions_of_torch(asked: list[StoodIn]) -> None:
    @torch.jit.script
    def plus(x: torch.Tensor) -> torch.Tensor:
        return x + torch.zeros(2)

    assert plus(torch.ones(2)).tolist() == [1, 1]
    assert torch.jit.script(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))(torch.ones(3, 4)).shape == (3, 2)
    assert torch.jit.trace(Net().eval(), torch.ones(3, 4))(torch.ones(5, 4)).shape == (5, 8)


def test_traces_go_on(asked: list[StoodIn]) -> None:
    net = Net().eval()
    assert torch.export.export(net, (torch.ones(3, 4),)).module()(torch.ones(3, 4)).shape == (3, 8)
    assert make_fx(net)(torch.ones(3, 4))(torch.ones(3, 4)).shape == (3, 8)
    mode = private.fake_mode()
    if mode is not None:
        with mode:
            assert net(torch.ones(3, 4)).shape == (3, 8)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_model_runs(whole: bool) -> None:
    torch.compiler.reset()
    with standing_in(StandIns(cuda=True)):
        compiled = torch.compile(Net().cuda(), backend="eager", fullgraph=whole)
        assert compiled(torch.ones(3, 4)).shape == (3, 8)


def test_a_scan_follows_a_hard_coded_device_on_shapes() -> None:
    net = Net()
    report = bnguard.scan(net, (4,))
    assert (report.models[0].method, report.models[0].first_failure) == ("meta", "bn")
    assert report.to_dict()["stood_in"] == [{"what": "cuda", "instead": "the CPU"}]
    without = bnguard.scan(net, (4,), cuda_stand_in=False)
    assert without.models[0].layers[0].verdict == "unknown"
    assert "stood_in" not in without.to_dict()
    assert "stood_in" not in bnguard.scan(nn.BatchNorm1d(4), (4,)).to_dict()


def test_a_forecast_says_it_too() -> None:
    loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=4)
    report = bnguard.forecast(Net(), loader)
    assert report.forecasts[0].step == 3
    assert report.to_dict()["stood_in"] == [{"what": "cuda", "instead": "the CPU"}]


# --------------------------------------------------------------------------------------- leaving no trace

OWNERS = (
    torch, torch.cuda, torch.cuda.nvtx, torch.serialization, torch.Tensor, torch.UntypedStorage, torch.jit,
    torch.fft, torch.nested, torch.distributed, nn.DataParallel, nn.SyncBatchNorm, nn.parallel,
    nn.parallel.DistributedDataParallel, private.device_context(), BaseProcess,
)  # fmt: skip


def contents() -> list[dict[str, Any]]:
    passing = ("__warningregistry__", "__slotnames__")
    return [{k: v for k, v in vars(owner).items() if k not in passing} for owner in OWNERS]


def test_everything_is_put_back_after_an_error_too() -> None:
    before = contents()

    def use_it_and_fail() -> None:
        with standing_in(StandIns(cuda=True)) as outer:
            assert sum(now != then for now, then in zip(contents(), before, strict=True)) >= 12
            with standing_in(StandIns(cuda=True)) as inner:  # as a check does
                torch.ones(2).cuda()
            assert inner == outer == [StoodIn("cuda", "the CPU")]
            raise KeyError

    with pytest.raises(KeyError):
        use_it_and_fail()
    for now, then in zip(contents(), before, strict=True):
        assert now.keys() == then.keys()
        assert all(now[k] is then[k] for k in now)
    assert cuda.state() is None
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(2).cuda()


def test_a_machine_with_a_device_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_usable_device", lambda: True)
    before = contents()
    with standing_in(StandIns(cuda=True)):
        assert contents() == before
        assert cuda.state() is None


def test_it_is_not_there_unless_it_is_wanted() -> None:
    before = contents()
    with standing_in(StandIns()):
        assert contents() == before


def test_a_driver_that_does_not_answer_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    ask = device._driver_answers
    ask.cache_clear()
    monkeypatch.setitem(device._DRIVERS, sys.platform, "libc.so.6")  # is loaded, and knows nothing of CUDA
    assert not cuda.has_usable_device()
    monkeypatch.setattr(device.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    assert not cuda.has_usable_device(), "it was asked once"
    ask.cache_clear()
    assert cuda.has_usable_device()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not cuda.has_usable_device()
    ask.cache_clear()


def test_the_question_leaves_cuda_alone() -> None:
    script = (
        "import torch; from bnguard._stand_ins import cuda; cuda.has_usable_device();"
        "print(torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_torch_is_not_imported_for_it() -> None:
    script = """
import importlib.util, sys
from bnguard._stand_ins import cuda_standing_in
with cuda_standing_in(True) as found:
    assert "torch" not in sys.modules
    assert importlib.util.find_spec("torch") is not None  # a library looks whether it is there
    import torch
    torch.ones(2).cuda()
    assert found
assert not any(type(finder).__module__.startswith("bnguard") for finder in sys.meta_path)
with cuda_standing_in(True):
    pass
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
def test_what_compiles_still_finds_the_functions_of_torch_afterwards(tmp_path: Path) -> None:
    script = """
import torch
from bnguard._stand_ins import StandIns, standing_in
def plus(x: torch.Tensor):
    return x + torch.zeros(2) + torch.arange(2, device=x.device)
with standing_in(StandIns(cuda=True)):
    net = torch.nn.Linear(2, 2).cuda()
    torch.optim.SGD(net.parameters(), 0.1).zero_grad()
    torch.export.export(net, (torch.ones(3, 2, device="cuda"),))
    torch.jit.trace(net, torch.ones(3, 2))
    torch.compiler.reset()
assert torch.compile(plus, backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [1, 2]
assert torch.jit.script(torch.nn.Sequential(net))(torch.ones(3, 2)).shape == (3, 2)
assert torch.jit.script(plus)(torch.ones(2)).tolist() == [1, 2]
with torch.device("meta"):
    assert torch.zeros(2).is_meta
"""
    (tmp_path / "script.py").write_text(script)  # TorchScript reads the source
    subprocess.run([sys.executable, tmp_path / "script.py"], check=True)


@pytest.mark.parametrize(
    ("text", "stands_in", "hint"),
    [
        ("Found no NVIDIA driver on your system.", False, "--no-cuda-stand-in"),
        ("Torch not compiled with CUDA enabled", True, "where there is a CUDA device"),
        ("shapes do not fit", True, None),
    ],
)
def test_what_to_do_about_a_missing_device(text: str, stands_in: bool, hint: str | None) -> None:
    said = cuda.hint_for(RuntimeError(text), stands_in=stands_in)
    assert (said is None) if hint is None else (hint in (said or ""))


def test_what_was_spread_over_no_device_before_runs_as_it_did() -> None:
    model = nn.DataParallel(nn.Linear(2, 3))
    with standing_in(StandIns(cuda=True)):
        assert model(torch.ones(4, 2)).shape == (4, 3)
