"""Where a model is made, and the line below it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bnguard._cli.app import run
from bnguard._fix import Declared, Proposal, decide_models, proposal_of, read

Lines = Callable[..., str]

HEAD = "import bnguard\nimport torch\nimport torchvision\nfrom torch import nn\nclass Net(nn.Module): ...\n"
LINE = "bnguard.repair.freeze"


def proposals(folder: Path, files: dict[str, str], models: tuple[str, ...] = ()) -> dict[str, Proposal]:
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    readings = [read(folder / name) for name in files]
    decisions = decide_models(readings, "freeze", Declared(models=models))
    return {name: proposal_of(r, decisions[r]) for name, r in zip(files, readings, strict=True)}


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    def inserted(text: str, models: tuple[str, ...] = ()) -> str:
        proposal = proposals(tmp_path, {"train.py": HEAD + text}, models)["train.py"]
        again = proposals(tmp_path, {"train.py": proposal.new}, models)["train.py"]
        assert not again.edits  # a second run changes nothing
        return proposal.new.removeprefix(HEAD)

    return inserted


FORMS = {
    "net = Net()\n": f"net = Net()\n{LINE}(net)\n",
    "net = Net()": f"net = Net()\n{LINE}(net)\n",
    "net = Net()  # mine\nx = 1\n": f"net = Net()  # mine\n{LINE}(net)\nx = 1\n",
    "net: nn.Module = Net()\n": f"net: nn.Module = Net()\n{LINE}(net)\n",
    "net = Net().to('cuda').train()\n": f"net = Net().to('cuda').train()\n{LINE}(net)\n",
    "net = nn.Sequential(\n    Net(),\n)\n": f"net = nn.Sequential(\n    Net(),\n)\n{LINE}(net)\n",
    "net = torch.compile(Net())\n": f"net = torch.compile(Net())\n{LINE}(net)\n",
    "net = torchvision.models.resnet18()\n": f"net = torchvision.models.resnet18()\n{LINE}(net)\n",
    "G, D = Net(), Net()\n": f"G, D = Net(), Net()\n{LINE}(G)\n{LINE}(D)\n",
    "a = 1; net = Net(); b = 2\n": f"a = 1; net = Net(); {LINE}(net); b = 2\n",
    "if a: net = Net()\n": f"if a: net = Net(); {LINE}(net)\n",
    "def f():\n\tnet = Net()\n\treturn net\n": f"def f():\n\tnet = Net()\n\t{LINE}(net)\n\treturn net\n",
    "class T:\n  def __init__(self):\n    self.net = Net()\n": (
        f"class T:\n  def __init__(self):\n    self.net = Net()\n    {LINE}(self.net)\n"
    ),
    "nets['a'] = Net()\n": f"nets['a'] = Net()\n{LINE}(nets['a'])\n",
    "def make():\n    return Net()\nnet = make()\n": f"def make():\n    return Net()\nnet = make()\n{LINE}(net)\n",
    "if a:\n    net = Net()\nelse:\n    net = nn.Sequential()\n": (
        f"if a:\n    net = Net()\n    {LINE}(net)\nelse:\n    net = nn.Sequential()\n    {LINE}(net)\n"
    ),
    "class Big(nn.Module):\n    def __init__(self):\n        self.part = Net()\nbig = Big()\n": (
        f"class Big(nn.Module):\n    def __init__(self):\n        self.part = Net()\nbig = Big()\n{LINE}(big)\n"
    ),
    "class Sub(Net): ...\nnet = Sub()\n": f"class Sub(Net): ...\nnet = Sub()\n{LINE}(net)\n",
}

NO_MODELS = [
    "loss = nn.CrossEntropyLoss()\n",
    "x = make()\n",
    "net = None\n",
    "fit(Net())\n",
    "class Net2: ...\nn = Net2()\n",
]


@pytest.mark.parametrize("text", FORMS)
def test_the_line_stands_below(lines, text):
    assert lines(text) == FORMS[text]


@pytest.mark.parametrize("text", NO_MODELS)
def test_what_makes_no_model(lines, text):
    assert lines(text) == text


def test_line_endings_stay(tmp_path):
    text = f"{HEAD}net = Net()\nx = 1\n".replace("\n", "\r\n")
    new = proposals(tmp_path, {"train.py": text})["train.py"].new
    assert new == f"{HEAD}net = Net()\n{LINE}(net)\nx = 1\n".replace("\n", "\r\n")


def test_a_model_that_is_named(lines):
    text = "net = anything()\nother = Net()\n"
    assert lines(text, ("net",)) == f"net = anything()\n{LINE}(net)\nother = Net()\n"
    assert lines(text, ("7",)) == f"net = anything()\nother = Net()\n{LINE}(other)\n"


def test_a_class_of_another_file(tmp_path):
    files = {"train.py": "from net import Net\nmodel = Net()\n", "net.py": HEAD.replace("import bnguard\n", "")}
    new = proposals(tmp_path, files)["train.py"].new
    assert new == f"from net import Net\nimport bnguard\nmodel = Net()\n{LINE}(model)\n"


def test_an_imported_name_is_used(tmp_path):
    text = f"from bnguard.repair import freeze\n{HEAD.removeprefix('import bnguard')}net = Net()\n"
    assert proposals(tmp_path, {"train.py": text})["train.py"].new.endswith("net = Net()\nfreeze(net)\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model-line", "thaw"], "--model-line 'thaw' is not known"),
        (["--model", "net"], "--model names a model for --model-line"),
        (["--model-line", "freeze", "--model", "gone"], "no model for gone"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, capsys, options, message):
    (tmp_path / "train.py").write_text(f"{HEAD}net = Net()\n")
    assert run(["fix", str(tmp_path / "train.py"), *options]) == 2
    assert capsys.readouterr().err.startswith(f"bnguard: {message}\n  hint: ")


@pytest.mark.parametrize("line", ["allow_single_sample", "freeze"])
def test_the_repaired_model_takes_one_sample(tmp_path, capsys, line):
    """Truth comes from PyTorch: the file runs, and its last line trains on a single sample."""
    torch = pytest.importorskip("torch")
    script = tmp_path / "one.py"
    script.write_text(
        "import torch\nfrom torch import nn\nmodel = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))\n"
        "model.train()\nout = model(torch.randn(1, 4))\nout.sum().backward()\n"
    )
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        exec(compile(script.read_text(), "one.py", "exec"), {})
    assert run(["fix", str(script), "--model-line", line, "--write"]) == 0
    space: dict[str, object] = {}
    exec(compile(script.read_text(), "one.py", "exec"), space)
    assert isinstance(space["out"], torch.Tensor)
