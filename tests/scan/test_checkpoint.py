"""Facts from files of weights alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import bnguard
from bnguard._errors import TargetError
from bnguard._scan.checkpoint import is_checkpoint, scan_checkpoint


@pytest.fixture
def net() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4, affine=False)))
    net(torch.randn(2, 3, 8, 8))
    return net


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def layers(text: str) -> dict[str, int | None]:
    return {x.name: x.num_features for x in bnguard.scan(text).models[0].layers}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.pt", True), ("a.PTH", True), ("a.ckpt", True), ("a.safetensors", True), ("a.bin", True), ("a.py", False),
     ("model.py:Net", False), ("torch.pth:x", False)],
)  # fmt: skip
def test_which_targets_are_checkpoints(text: str, expected: bool) -> None:
    assert is_checkpoint(text) is expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"epoch": torch.tensor(3), "model": s},
        lambda s: {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "anything": s},
        lambda s: {"ema": {"module": s}},
        lambda s: {"hyper_parameters": {"lr": torch.tensor(0.1)}, "state_dict": s},
    ],
)
def test_a_state_dict_is_found_wherever_it_lies(net: nn.Module, wrap) -> None:
    torch.save(wrap(net.state_dict()), "net.pth")
    assert layers("net.pth") == {"1": 4, "2.0": 4}


def test_what_the_statistics_hold(net: nn.Module) -> None:
    net[1].running_mean[0] = float("nan")
    torch.save(net.state_dict(), "net.pt")
    model = scan_checkpoint("net.pt", 1, "train")
    first, second = model.layers
    assert first.statistics is not None
    assert first.statistics.nonfinite == 1
    assert (first.affine, second.affine) == (True, False)
    assert first.verdict == "unknown"
    assert model.trace_error is not None
    assert "BN301" in [f.code for f in bnguard.scan("net.pt").findings]


def test_prefixes_bare_layers_and_old_files(net: nn.Module) -> None:
    torch.save(nn.DataParallel(net).state_dict(), "wrapped.pth")
    torch.save(nn.BatchNorm1d(3).state_dict(), "bare.pth")
    torch.save(net.state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    torch.save(nn.Linear(2, 2).state_dict(), "none.pth")
    assert list(layers("wrapped.pth")) == ["module.1", "module.2.0"]
    assert layers("bare.pth") == {"": 3}
    assert list(layers("old.pth")) == ["1", "2.0"]
    assert layers("none.pth") == {}


def test_safetensors(net: nn.Module) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(net.state_dict(), "net.safetensors")
    assert layers("net.safetensors") == {"1": 4, "2.0": 4}
    Path("bad.safetensors").write_bytes(b"not a header")
    with pytest.raises(TargetError, match="is no readable checkpoint"):
        bnguard.scan("bad.safetensors")


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda p, n: None, "there is no file net.pth", "did you mean net2.pth?"),
        (lambda p, n: p.mkdir(), "net.pth is a folder", "name a file"),
        (lambda p, n: p.write_bytes(b""), "net.pth is no readable checkpoint", "cut off"),
        (lambda p, n: p.write_bytes(b"\x80\x04junk"), "net.pth", ""),
        (lambda p, n: torch.save(n, p), "net.pth holds pickled objects, not only tensors", "load.py:model"),
        (lambda p, n: torch.save([1, 2], p), "net.pth holds no state dict", "torch.save(model.state_dict(), path)"),
        (lambda p, n: torch.save({}, p), "net.pth holds no state dict", "torch.save(model.state_dict(), path)"),
        (lambda p, n: torch.jit.script(n).save(str(p)), "net.pth holds", "load.py:model"),
    ],
    ids=["missing", "folder", "empty", "junk", "a module", "a list", "an empty dict", "TorchScript"],
)
def test_a_file_that_holds_no_weights(net: nn.Module, make, message: str, hint: str) -> None:
    torch.save({}, "net2.pth")
    make(Path("net.pth"), net)
    with pytest.raises(TargetError) as caught:
        bnguard.scan("net.pth")
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
