"""Pretrained weights that cannot be had: the model stays random, it is said, and nothing else changes."""

from __future__ import annotations

import importlib
import socket
from http.client import HTTPMessage
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
from torch import nn

from bnguard._stand_ins import StandIns, StoodIn, standing_in
from bnguard._stand_ins.network import is_download_failure
from bnguard._stand_ins.once_imported import once_imported
from bnguard._stand_ins.weights import AbsentWeights

URL = "https://weights.invalid/net-0123456789.pth"


def raising(error: Exception):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An empty cache, and no name that can be resolved: nothing of the real network is asked."""
    monkeypatch.setattr(socket, "getaddrinfo", raising(socket.gaierror(-2, "Name or service not known")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with standing_in(StandIns()) as stood_in:
        yield stood_in


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def test_a_model_of_torchvision_stays_random(no_network) -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    model = resnet18(weights=ResNet18_Weights.DEFAULT)
    assert model.training
    assert no_network == [StoodIn("weights of resnet18-f37072fd.pth", "random")]


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_dict_from_the_network(strict: bool, no_network) -> None:
    model = net()
    before = model[0].weight.clone()
    state = torch.hub.load_state_dict_from_url(URL, progress=False)
    result = model.load_state_dict(state["model"], strict=strict)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    model.load_state_dict({f"0.{k}": v for k, v in state.items()}, strict=strict)
    model.load_state_dict({"0.weight": state["fc.weight"]}, strict=strict)
    assert torch.equal(model[0].weight, before)
    assert no_network == [StoodIn("weights of net-0123456789.pth", "random")]


def test_a_file_that_was_to_be_downloaded_first(no_network, tmp_path: Path) -> None:
    torch.hub.download_url_to_file(URL, str(tmp_path / "net.pth"))
    model = net()
    model.load_state_dict(torch.load(tmp_path / "net.pth", map_location="cpu"))
    assert not (tmp_path / "net.pth").exists()
    assert no_network == [StoodIn("weights of net.pth", "random")]


def test_a_file_of_the_hugging_face_hub(no_network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    namespace = {"hf_hub_download": hub.hf_hub_download, "cache": str(tmp_path)}
    code = "file = hf_hub_download('someone/net', filename='pytorch_model.bin', cache_dir=cache)"
    exec(compile(code, str(tmp_path / "train.py"), "exec"), namespace)  # as the user's own file asks
    model = net()
    model.load_state_dict(torch.load(namespace["file"]))
    assert sum(waits) <= 2
    assert no_network == [StoodIn("weights of someone/net", "random")]
    with pytest.raises(Exception, match="locate the file") as raised:  # what is no file of weights is missing
        hub.hf_hub_download("someone/net", filename="config.json", cache_dir=str(tmp_path))
    assert is_download_failure(raised.value)


def test_a_model_of_timm_stays_random(no_network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    monkeypatch.setattr("time.sleep", lambda _: None)
    timm.create_model("resnet10t", pretrained=True, num_classes=3, in_chans=1, cache_dir=str(tmp_path))
    assert no_network == [StoodIn("weights of resnet10t", "random")]


@pytest.mark.filterwarnings("ignore:The parameter .pretrained", "ignore:Arguments other than a weight enum")
def test_a_model_of_the_hub_is_that_of_the_installed_torchvision(no_network) -> None:
    model = torch.hub.load("pytorch/vision:v0.10.0", "resnet18", pretrained=True, verbose=False, trust_repo=True)
    assert type(model).__name__ == "ResNet"
    assert StoodIn("pytorch/vision of torch.hub", "the installed torchvision") in no_network
    with pytest.raises(Exception, match=r"internet|Name or service") as raised:
        torch.hub.load("somebody/else", "net", trust_repo=True)
    assert is_download_failure(raised.value)


def test_weights_that_are_there_are_loaded(no_network, tmp_path: Path) -> None:
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    saved = net()
    torch.save(saved.state_dict(), tmp_path / "hub/checkpoints/net-0123456789.pth")
    model = net()
    model.load_state_dict(torch.hub.load_state_dict_from_url(URL, progress=False))
    assert torch.equal(model[0].weight, saved[0].weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict({"0.weight": torch.zeros(3, 3)}, strict=False)
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({})
    assert no_network == []


def test_a_file_of_the_users_own_that_is_not_there(no_network, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "best.pth")
    assert no_network == []


def test_a_file_that_holds_no_weights_is_missed_by_who_reads_it(no_network, tmp_path: Path) -> None:
    with pytest.raises(URLError):
        torch.hub.download_url_to_file("https://data.invalid/train.csv", str(tmp_path / "train.csv"))


def test_a_server_that_says_nothing_is_soon_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def urlopen(*_: object) -> None:
        seen.append(socket.getdefaulttimeout())
        raise TimeoutError

    monkeypatch.setattr(torch.hub, "urlopen", urlopen)
    with standing_in(StandIns()) as stood_in:
        torch.hub.load_state_dict_from_url(URL, str(tmp_path), progress=False)
    assert seen == [10.0]
    assert socket.getdefaulttimeout() is None
    assert len(stood_in) == 1


def test_afterwards_everything_is_as_before() -> None:
    def everything() -> list[object]:
        functions = (torch.hub.load_state_dict_from_url, torch.hub.download_url_to_file, torch.load, torch.hub.load)
        codes = [(f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
        return [*codes, nn.Module.load_state_dict]

    before = everything()
    with standing_in(StandIns()):
        assert everything() != before
    assert everything() == before


def test_what_is_a_failed_download() -> None:
    assert is_download_failure(HTTPError("http://x", 404, "Not Found", HTTPMessage(), None))
    assert is_download_failure(ConnectionResetError())
    assert not is_download_failure(FileNotFoundError(2, "No such file", "best.pth"))
    assert not is_download_failure(None)
    chained = RuntimeError("no config")
    chained.__cause__ = URLError("no network")
    assert is_download_failure(chained)


def test_absent_weights_answer_as_a_state_dict() -> None:
    weights = AbsentWeights()
    del weights["fc.weight"]
    assert weights.pop("fc.bias") is None
    assert weights.pop("fc.bias", 3) == 3
    assert isinstance(weights["model"]["state_dict"], AbsentWeights)
    assert weights.get("model", weights) is weights
    assert list(weights.items()) == []
    assert isinstance(weights.copy(), AbsentWeights)
    weights["a"] = 1
    del weights["a"]
    assert "a" not in weights


def test_something_is_done_once_a_module_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_late_module.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    done: list[object] = []
    with once_imported({"some_late_module": done.append, "json": done.append, "nowhere_at_all": done.append}):
        assert [m.__name__ for m in done] == ["json"]
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("nowhere_at_all")
        late = importlib.import_module("some_late_module")
    assert (done[1:], late.value) == ([late], 3)
    assert "exec_module" not in vars(late.__loader__)
