"""``bnguard preflight`` as it is typed: stdout is the report's, the script ends as it should, nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnguard._cli.app import run

ROOT = Path(__file__).parents[2]
TRAINING = """\
import atexit, os, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
loader = DataLoader(TensorDataset(torch.randn(5, 3)), batch_size=2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)

def train():
    for epoch in range(2):
        for (x,) in loader:
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            print("step", len(x))
"""
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Write a script and preflight it; what the folder holds afterwards is what the script wrote."""

    def shell(code: str, *options: str, program: tuple[str, ...] = ("train.py",)) -> subprocess.CompletedProcess[str]:
        (tmp_path / "train.py").write_text(code, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "bnguard", "preflight", *options, *program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )

    return shell


def started_by(marker: str) -> list[str]:
    """Return the processes whose environment holds this text."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marker in place.read_bytes().decode(errors="replace"):
                found.append(place.parent.name)
        except OSError:
            continue
    return found


def test_the_script_runs_to_its_failure(shell: Shell, tmp_path: Path) -> None:
    code = TRAINING + (
        "os.environ['SEEN'] = os.environ['BNGUARD_PREFLIGHT']\n"
        "before = [p.clone() for p in model.parameters()]\n"
        "atexit.register(lambda: print('at exit', sys.argv[1:], os.environ['SEEN']))\n"
        "os.system('echo from a shell')\n"
        "try:\n    train()\n"
        "finally:\n"
        "    print('moved', not all(map(torch.equal, before, model.parameters())))\n"
    )
    result = shell(code, "--format", "json", program=("train.py", "--", "--lr", "3"))
    assert result.returncode == 1, result.stderr
    lines = result.stderr.splitlines()
    assert lines[0] == "bnguard: running train.py, one batch of every kind …"
    assert lines[1:] == ["from a shell", "step 2", "step 2", "moved True", "at exit ['--lr', '3'] 1"]
    report = json.loads(result.stdout)
    (forecast,) = report["forecasts"]
    keys = ("model", "loader", "mode", "epoch", "step", "steps", "batch_size", "rank", "layer", "error")
    expected = ("model", "loader", "train", 1, 3, 3, 1, 0, "1", "ValueError")
    assert tuple(forecast[k] for k in keys) == expected
    assert report["command"] == "preflight"
    assert [f["code"] for f in report["findings"] if f["severity"] == "error"] == ["DL101"]
    assert [p.name for p in tmp_path.iterdir()] == ["train.py"]


@pytest.mark.slow
def test_options_stand_before_the_script_and_what_follows_is_its_own(shell: Shell) -> None:
    code = TRAINING + "assert sys.argv[1:] == ['--timeout', '1', '--', '-x'], sys.argv\ntrain()\n"
    arguments = ("train.py", "--timeout", "1", "--", "-x")
    result = shell(code, "--fail-on", "never", "--quiet", program=arguments)
    assert result.returncode == 0, result.stderr
    assert "running" not in result.stderr
    assert "DL101" in result.stdout


@pytest.mark.slow
def test_a_module(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__main__.py").write_text(TRAINING + "train()\n", encoding="utf-8")
    result = shell("", "-m", program=("package",))
    assert result.returncode == 1
    assert "step 3 of 3" in result.stdout


FAILURES: dict[str, tuple[str, str, str]] = {
    "exit": ("import sys\nsys.exit(3)\n", "the script ended with exit code 3 without a training step", "give it the"),
    "stdin": ("input('name? ')\n", "the script asked for input", "preflight"),
    "os_exit": (
        "import os\nos._exit(4)\n",
        "the script's process ended without a word (exit code 4)",
        "it was killed",
    ),
    "killed": (
        "import os\nos.kill(os.getpid(), 9)\n",
        "the script's process ended without a word (killed by SIGKILL)",
        "it was killed",
    ),
    "evaluates": (
        TRAINING + "model.eval()\nfor (x,) in loader: model(x)\n",
        "the script ended without a training step",
        "give it the",
    ),
    "exits_for_an_error_while_it_trains": (
        TRAINING + "def step(x):\n    model(x).sum().backward()\n    raise RuntimeError('mine')\n"
        "try:\n    for (x,) in loader: step(x)\nexcept RuntimeError as error:\n    print(error)\n    sys.exit(1)\n",
        "the script raised by itself: RuntimeError: mine",
        "the traceback above",
    ),
    "raises_in_a_process_of_its_own": (
        TRAINING + "def work(rank):\n    for (x,) in loader:\n        model(x).sum().backward()\n"
        "        raise RuntimeError('mine')\n"
        "if __name__ == '__main__':\n    torch.multiprocessing.spawn(work, nprocs=1)\n",
        "the script raised by itself: RuntimeError: mine",
        "the traceback above",
    ),
    "raises_once_it_is_told_that_there_is_a_device": (
        TRAINING + "for _ in range(torch.cuda.device_count()):\n    model(next(iter(loader))[0]).sum().backward()\n"
        "    raise RuntimeError('mine')\n",
        "the script raised by itself: RuntimeError: mine",
        "the traceback above",
    ),
    "swallows": (
        TRAINING + "loader = DataLoader(TensorDataset(torch.randn(6, 3)), batch_size=2)\n"
        "while True:\n    try:\n        train()\n    except:\n        pass\n",
        "the script swallows the exception that stops it, so it had to be ended",
        "write `except Exception:`",
    ),
    "raises_what_was_left_out": (
        TRAINING + "loader = DataLoader(TensorDataset(torch.randn(2000, 3)), batch_size=2)\nseen = 0\n"
        "for (x,) in loader:\n    model(x).sum().backward()\n    seen += len(x)\nassert seen == 2000\n",
        "the script raised AssertionError, perhaps only because batches were left out",
        "more time",
    ),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "exit" else pytest.mark.slow) for n in FAILURES])
def test_what_cannot_be_done_is_one_line_with_a_hint(name: str, shell: Shell) -> None:
    code, message, hint = FAILURES[name]
    result = shell(code, "--budget", "0")
    assert (result.returncode, result.stdout) == (2, "")
    said, hinted = result.stderr.splitlines()[-2:]
    assert said.startswith(f"bnguard: {message}")
    assert hinted.startswith(f"  hint: {hint}")


@pytest.mark.slow
def test_a_script_that_raises_shows_its_own_traceback(shell: Shell) -> None:
    result = shell("import torch\ndef build():\n    return torch.zeros(2).view(3)\nbuild()\n")
    assert result.returncode == 2
    lines = result.stderr.splitlines()[1:]
    assert lines[0] == "Traceback (your frames only):"
    assert sum(line.startswith("  File") for line in lines) == 2
    assert "bnguard/" not in "".join(lines)
    assert lines[-2].startswith("bnguard: the script raised by itself: RuntimeError")


@pytest.mark.slow
def test_a_layer_that_fails_in_the_first_step_is_diagnosed(shell: Shell) -> None:
    one = "loader = DataLoader(TensorDataset(torch.randn(5, 3)), batch_size=1)\n"
    result = shell(TRAINING + one + "train()\n", "--format", "json")
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert [f["code"] for f in report["findings"] if f["severity"] == "error"] == ["DL103"]
    assert report["diagnosis"]["cause"] == "one-value-per-channel"
    assert [(f["step"], f["layer"], f["error"]) for f in report["forecasts"]] == [(1, "1", "ValueError")]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code"), [((), 2), (("--allow-unknown",), 0)])
def test_a_training_loader_that_is_not_known_is_no_success(options: tuple[str, ...], code: int, shell: Shell) -> None:
    collate = "collate = lambda batch: [torch.stack([x for x, in batch])]\n"
    loader = "loader = DataLoader(TensorDataset(torch.randn(600, 3)), 2, collate_fn=collate)\n"
    result = shell(TRAINING + collate + loader + "train()\n", "--budget", "0", *options)
    assert result.returncode == code, result.stderr
    assert "not known whether training on loader stops" in " ".join(result.stdout.split())
    assert "its collate function can decide" in " ".join(result.stdout.split())


@pytest.mark.slow
def test_a_training_without_a_loader_is_run(shell: Shell) -> None:
    loop = "for n in (4, 4, 1):\n    model(torch.randn(n, 3)).sum().backward()\n    optimizer.step()\n"
    result = shell(TRAINING + loop)
    assert result.returncode == 1
    assert "training on (no DataLoader) stops: 1 gets 1×4" in " ".join(result.stdout.split())


@pytest.mark.slow
def test_the_time_for_all_of_it_ends_with_what_is_known(shell: Shell) -> None:
    code = TRAINING.replace("batch_size=2", "batch_size=5").replace("range(2)", "range(10**9)")
    result = shell(code + "train()\n", "--timeout", "40", "--budget", "1000")
    assert result.returncode == 0, result.stderr
    assert "the time was over (--timeout)" in result.stdout


@pytest.mark.slow
def test_signal_handlers_another_folder_and_a_thread(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    code = TRAINING + (
        "import signal, threading\n"
        "os.chdir('elsewhere')\n"
        "for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n"
        "thread = threading.Thread(target=train)\nthread.start()\nthread.join()\n"
    )
    result = shell(code)
    assert result.returncode == 1
    assert "step 3 of 3" in result.stdout


@pytest.mark.slow
def test_workers_and_other_processes_are_gone_afterwards(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = f"BNGUARD_TEST_MARKER={os.getpid()}-{time.time()}"
    monkeypatch.setenv(*marker.split("="))
    code = TRAINING + (
        "import subprocess\n"
        "subprocess.Popen(['sleep', '3600'])\n"
        "loader = DataLoader(loader.dataset, batch_size=2, num_workers=2, persistent_workers=True)\n"
        "train()\n"
    )
    result = shell(code)
    assert result.returncode == 1
    assert set(started_by(marker)) <= {str(os.getpid())}


@pytest.mark.slow
def test_time_runs_out(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = f"BNGUARD_TEST_MARKER={os.getpid()}-{time.time()}"
    monkeypatch.setenv(*marker.split("="))
    result = shell("import time\ntime.sleep(3600)\n", "--timeout", "2")
    assert result.returncode == 2
    message = "the script did not get as far as an answer within 2 seconds"
    assert result.stderr.splitlines()[-2:] == [
        f"bnguard: {message}",
        "  hint: give it more time (--timeout SECONDS), or less to do before it trains",
    ]
    assert set(started_by(marker)) <= {str(os.getpid())}


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_everything_at_once(sent: int, code: int, tmp_path: Path) -> None:
    marker = f"BNGUARD_TEST_MARKER={os.getpid()}-{time.time()}"
    name, value = marker.split("=")
    script = tmp_path / "train.py"
    script.write_text(
        "import signal, subprocess, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '3600'])\nprint('ready', flush=True)\ntime.sleep(3600)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, name: value, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bnguard", "preflight", str(script)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        while process.stderr.readline() != "ready\n":
            pass
        process.send_signal(sent)
        assert process.wait() == code
    assert started_by(marker) == []


@pytest.mark.slow
def test_a_script_that_spawns_its_training(shell: Shell) -> None:
    code = TRAINING + (
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=train)\n"
        "    process.start()\n    process.join()\n    print('not reached')\n"
    )
    result = shell(code)
    assert result.returncode == 1, result.stderr
    assert "step 3 of 3" in result.stdout
    assert "not reached" not in result.stderr


@pytest.mark.slow
def test_ranks_with_shares_of_their_own_give_one_report(shell: Shell, tmp_path: Path) -> None:
    """The script deals out its samples itself: only rank 1 ends with one sample, and rank 0 reports it."""
    code = TRAINING + (
        "import torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "model = nn.parallel.DistributedDataParallel(model)\n"
        "loader = DataLoader(TensorDataset(torch.randn(4 - dist.get_rank(), 3)), batch_size=2)\n"
        "train()\n"
    )
    (tmp_path / "train.py").write_text(code, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "bnguard", "preflight", "--format", "json", "train.py"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    report = json.loads(result.stdout)
    assert result.returncode == 1
    (forecast,) = report["forecasts"]
    assert (forecast["rank"], forecast["step"], forecast["layer"]) == (1, 2, "1")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["trian.py"], "trian.py: no such script", "did you mean train.py?"),
        (["-m", "nope"], "no module named 'nope' that can be run", "`-m` takes a name"),
        (["--", "-x"], "-x: no such script", "options of bnguard preflight stand before the script"),
        (["--timeout", "0", "train.py"], "a timeout of 0 seconds leaves no time", "the default is 600"),
        (["--budget", "-1", "train.py"], "a budget of -1 seconds means nothing", "the default is 30"),
        (["--format", "yaml", "train.py"], "--format 'yaml' is not known", "one of"),
    ],
)
def test_what_cannot_be_run(
    arguments: list[str], message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("", encoding="utf-8")
    assert run(["preflight", "--quiet", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"bnguard: {message}"
    assert lines[1].startswith(f"  hint: {hint}")


def test_the_library_leaves_this_process_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    import bnguard

    script = tmp_path / "train.py"
    script.write_text(TRAINING + "import os\nos.chdir('/')\ntorch.manual_seed(3)\ntrain()\n", encoding="utf-8")

    def everything() -> list[Any]:
        return [
            dict(vars(nn.Module)), dict(vars(DataLoader)), {k: v for k, v in vars(torch).items() if callable(v)},
            dict(os.environ), Path.cwd(), list(sys.argv), list(sys.path), torch.get_rng_state().tolist(),
            signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.modules["__main__"],
        ]  # fmt: skip

    before = everything()
    report = bnguard.preflight(script, ["--lr", "1"])
    assert everything() == before
    assert callable(bnguard.preflight)  # no package of that name has taken its place
    assert [(f.step, f.layer) for f in report.forecasts] == [(3, "1")]
    assert not report.ok
    assert capfd.readouterr().out == ""
    with pytest.raises(bnguard.BnguardError, match="no such script"):
        bnguard.preflight(tmp_path / "nope.py")


@pytest.mark.slow
def test_a_package_that_is_not_installed_gets_a_stand_in(shell: Shell) -> None:
    code = "import some_plotter.colors\n" + TRAINING + "some_plotter.draw(model)\ntrain()\n"
    refused = shell(code)
    assert refused.returncode == 2
    assert "--stub some_plotter" in refused.stderr.splitlines()[-1]
    result = shell(code, "--stub", "some_plotter", "--format", "json")
    assert result.returncode == 1, result.stderr
    assert json.loads(result.stdout)["stood_in"] == [{"what": "some_plotter", "instead": "a stand-in for the package"}]
    failed = shell(code + "raise ValueError(some_plotter.axes())\n", "--stub", "some_plotter", "--budget", "0")
    assert failed.returncode == 1, failed.stderr  # training stops before that


@pytest.mark.slow
def test_an_error_that_a_stand_in_may_have_caused(shell: Shell) -> None:
    result = shell("import some_plotter\nrange(some_plotter.width())\n" + TRAINING, "--stub", "some_plotter")
    assert result.returncode == 2
    assert "perhaps only because some_plotter is a stand-in" in result.stderr.splitlines()[-2]


PRETRAINED = """\
import socket, torch, torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def nowhere(*_, **__):
    raise socket.gaierror(-2, "Name or service not known")

socket.getaddrinfo = nowhere
model = torchvision.models.resnet18(weights="DEFAULT")
loader = DataLoader(TensorDataset(torch.randn(3, 3, 32, 32)), batch_size=2)
for (x,) in loader:
    model(x).sum().backward()
"""


@pytest.mark.slow
def test_weights_that_cannot_be_downloaded_stay_random(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    result = shell(PRETRAINED)
    assert result.returncode == 1, result.stderr
    assert "layer4.0.bn1" in result.stdout
    assert "stand-in weights of resnet18-f37072fd.pth: random" in result.stdout


OF_TORCHVISION = """\
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

data = datasets.MNIST("data", train=False, download=True, transform=transforms.ToTensor())
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for x, y in DataLoader(data, batch_size=33):
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("amount", "code", "told"),
    [
        ("real", 1, "stops at step 304 of 304 of epoch 1"),  # 10,000 samples are 303 × 33 + 1
        ("34", 1, "(assumed: MNIST has 34 samples, not 10,000)"),
        ("35", 2, "does not stop if MNIST has 35 samples, not 10,000; --fake-data real"),
    ],
)
def test_random_samples_for_a_data_set_that_is_not_here(amount: str, code: int, told: str, shell: Shell) -> None:
    result = shell(OF_TORCHVISION, "--fake-data", amount)
    assert result.returncode == code, result.stderr
    assert told in " ".join(result.stdout.split())
    assert "stand-in MNIST: " in result.stdout


@pytest.mark.slow
def test_a_folder_of_images_has_as_many_samples_as_is_said(shell: Shell) -> None:
    code = OF_TORCHVISION.replace('MNIST("data", train=False, download=True, ', 'ImageFolder("data/train", ')
    code = code.replace(
        "transforms.ToTensor()",
        "transforms.Compose([transforms.Grayscale(), transforms.Resize((28, 28)), transforms.ToTensor()])",
    )
    refused = shell(code)
    assert refused.returncode == 2
    assert "the data set ImageFolder, which is not here" in refused.stderr
    assert "--fake-data 1000" in refused.stderr.splitlines()[-1]
    result = shell(code, "--fake-data", "35")
    assert result.returncode == 0, result.stderr
    assert "(assumed: ImageFolder has 35 samples)" in " ".join(result.stdout.split())
    assert shell(code, "--fake-data", "real").returncode == 2


def test_fake_data_that_mean_nothing(shell: Shell) -> None:
    for amount in ("0", "-3", "many"):
        result = shell(TRAINING, "--fake-data", amount)
        assert result.returncode == 2
        assert "a number such as 1000, or real" in result.stderr


# --------------------------------------------------------------------------------------- the terminal

ASKS = """\
import getpass, os, sys
assert sys.stdin.isatty() and os.isatty(0)
rows, columns = os.popen("stty size").read().split()
assert os.get_terminal_size(0) == (int(columns), int(rows)) == (97, 31)
for ask in (input, sys.stdin.readline, getpass.getpass, input):
    try:
        assert ask() == ""
    except EOFError:
        pass
import readline
try:
    input()
except EOFError:
    print("nothing was typed")
"""


def in_a_terminal(folder: Path, *argv: str, until: bytes = b"") -> tuple[int, bytes, subprocess.Popen[bytes]]:
    """Run a command in a terminal of 97 columns; return its side of that, what was written until there, the process."""
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "bnguard", "preflight", *argv],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while not until or until not in written:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        written += part
        if not part:
            break
    return ours, written, process


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_a_terminal_stays_one_and_is_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(ASKS + TRAINING + "train()\n", encoding="utf-8")
    ours, written, process = in_a_terminal(tmp_path, "train.py")
    os.close(ours)
    assert process.wait() == 1, written.decode()
    assert b"nothing was typed" in written
    assert b"stops at step 3 of 3" in written


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_an_interrupt_at_the_terminal_ends_everything(tmp_path: Path) -> None:
    code = (
        "import subprocess, time, sys\nsubprocess.Popen(['sleep', '987'])\nprint('here', flush=True)\ntime.sleep(98)\n"
    )
    (tmp_path / "train.py").write_text(code, encoding="utf-8")
    ours, written, process = in_a_terminal(tmp_path, "train.py", until=b"here")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130, written
    os.close(ours)
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x00987" in _content(p)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
def test_a_loader_that_nothing_iterates_is_no_error(shell: Shell) -> None:
    code = TRAINING.replace("randn(5, 3)", "randn(4, 3)")
    result = shell(
        code + "val_loader = DataLoader(TensorDataset(torch.randn(3, 4)), batch_size=4, drop_last=True)\ntrain()\n"
    )
    assert result.returncode == 0, result.stderr
    assert "val_loader: no batch was asked of it" in result.stdout
    assert "error" not in result.stdout
