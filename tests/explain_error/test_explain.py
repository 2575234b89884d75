"""A log is enough: the layer's path, the shape, the cause and the rank, from every way a traceback is printed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from explain_error.printed import (
    BATCH_NORM,
    CONTAINER,
    HEAD,
    LOOP,
    NEW_NOTEBOOK,
    OLD_NOTEBOOK,
    ONE_VALUE,
    RICH,
    TORCH,
    called,
    frame,
    log,
    module,
)

from bnguard._diagnose.log_text import read_errors
from bnguard._explain_error import diagnose_text


@pytest.mark.parametrize(
    ("frames", "layer", "candidates"),
    [
        ([LOOP, module("x = self.bn1(x)"), BATCH_NORM], "bn1", ()),
        ([LOOP, module("x = F.relu(self.bn1(self.conv1(x)))"), BATCH_NORM], "bn1", ()),
        ([LOOP, module("y = self.encoder(x)"), module("x = self.norm(x)"), BATCH_NORM], "encoder.norm", ()),
        ([LOOP, module("x = self.layer4(x)"), CONTAINER, module("out = self.bn1(out)"), BATCH_NORM], None,
         ("layer4.*.bn1",)),
        ([LOOP, module("x = self.bns[2](x)"), BATCH_NORM], "bns.2", ()),
        ([LOOP, module("x = self.bns[i](x)"), BATCH_NORM], None, ("bns.*",)),
        ([LOOP, module("x = self.heads['seg'](x)"), module("x = self.bn(x)"), BATCH_NORM], "heads.seg.bn", ()),
        ([LOOP, frame("net.py", "forward", "return self._forward_impl(x)"), module("x = self.bn(x)", "_forward_impl"),
          BATCH_NORM], "bn", ()),
        ([module("out = self.model(batch)", "step", "trainer.py"), module("x = self.bn(x)"), BATCH_NORM], "bn", ()),
        ([LOOP, module("z = self.net(x)", "training_step"), module("x = self.bn(x)"), BATCH_NORM], "net.bn", ()),
        ([LOOP, module("for layer in self.layers: x = layer(x)"), BATCH_NORM], None, ()),
        ([LOOP, module("a = self.bn1(x) + self.bn2(y)"), BATCH_NORM], None, ()),
        ([LOOP, frame("net.py", "forward", "return F.batch_norm(x, m, v, training=True)"),
          frame(f"{TORCH}/nn/functional.py", "batch_norm", "_verify_batch_size(input.size())")], None, ()),
    ],
)  # fmt: skip
def test_the_path_is_read_from_the_frames(frames: list[str], layer: str | None, candidates: tuple[str, ...]) -> None:
    found = diagnose_text(log(*frames))
    assert found is not None
    assert (found.layer, found.candidates) == (layer, candidates)
    assert (found.cause, found.code, found.shape) == ("one-value-per-channel", "RT101", (1, 4))


def test_the_underlined_call_decides_between_several() -> None:
    source = "return self.bn1(self.bn2(x))"
    marks = " " * source.index("self.bn2") + "^" * len("self.bn2(x)")
    lines = f'  File "net.py", line 3, in forward\n    {source}\n    {marks}\n'
    found = diagnose_text(log(LOOP, lines, called(), BATCH_NORM))
    assert found is not None
    assert found.layer == "bn2"


def test_indentation_lost_in_pasting() -> None:
    text = "\n".join(line.strip() for line in log(LOOP, module("x = self.bn1(x)"), BATCH_NORM).splitlines())
    found = diagnose_text(text)
    assert found is not None
    assert found.layer == "bn1"


def test_windows_paths_and_colours() -> None:
    text = (
        log(LOOP, module("x = self.bn1(x)"), BATCH_NORM)
        .replace("/", "\\")
        .replace("ValueError", "\x1b[31mValueError\x1b[0m")
    )
    found = diagnose_text(text.replace("\n", "\r\n"))
    assert found is not None
    assert found.layer == "bn1"


@pytest.mark.parametrize("prefix", ["2024-05-01T12:00:00.1234567Z ", "2024-05-01 12:00:00,123 ", "(Worker pid=12) "])
def test_lines_with_a_stamp_before_them(prefix: str) -> None:
    text = "".join(prefix + line for line in log(LOOP, module("x = self.bn1(x)"), BATCH_NORM).splitlines(keepends=True))
    found = diagnose_text(text)
    assert found is not None
    assert found.layer == "bn1"


def test_the_frames_of_a_trainer_are_no_part_of_the_name() -> None:
    strategy = module(
        "return self.model(*args)", "training_step", "/opt/site-packages/pytorch_lightning/strategies/ddp.py"
    )
    ddp = module("output = self.module(*inputs[0])", file=f"{TORCH}/nn/parallel/distributed.py")
    redirect = frame(
        "/opt/site-packages/pytorch_lightning/overrides/base.py", "forward", "self.module.training_step(x)"
    )
    step = module("y = self.net(x)", "training_step")
    found = diagnose_text(log(LOOP, strategy, ddp, redirect, step, module("x = self.bn(x)"), BATCH_NORM))
    assert found is not None
    assert found.layer == "net.bn"


def test_a_chain_of_exceptions_is_read_from_the_first_and_joined_with_the_way_to_it() -> None:
    inner = HEAD + frame("net.py", "forward", "return self.layers(x)") + called() + CONTAINER + BATCH_NORM + ONE_VALUE
    raised = frame("net.py", "forward", "raise RuntimeError() from e")
    outer = log(LOOP, module("y = self.head(x)", file="main.py"), raised, error="RuntimeError: forward failed")
    found = diagnose_text(f"{inner}\n\nThe above exception was the direct cause of the following exception:\n\n{outer}")
    assert found is not None
    assert (found.cause, found.candidates) == ("one-value-per-channel", ("head.layers.*",))


def test_ranks_are_told_apart_though_their_lines_mix() -> None:
    first = [f"[rank1]: {line}" for line in log(LOOP, module("x = self.bn1(x)"), BATCH_NORM).splitlines()]
    second = [f"[rank3]: {line}" for line in log(LOOP, module("x = self.bn1(x)"), BATCH_NORM).splitlines()]
    mixed = [line for pair in zip(second, first, strict=True) for line in pair]
    text = "Epoch 1\n" + "\n".join(mixed) + "\n[rank0]: done\n"
    found = diagnose_text(text)
    assert found is not None
    assert (found.layer, found.rank, found.world_size) == ("bn1", 1, None)
    assert found.evidence[-2:] == ("the traceback is that of rank 1", "rank 3 failed in the same way")
    told = diagnose_text("$ torchrun --nproc-per-node 4 train.py\n" + text)
    assert told is not None
    assert told.world_size == 4


def test_data_parallel_names_the_replica() -> None:
    message = "ValueError: Caught ValueError in replica 2 on device 2.\nOriginal "
    parallel = frame(f"{TORCH}/nn/parallel/parallel_apply.py", "_worker", "output = module(*input, **kwargs)")
    found = diagnose_text(log(LOOP, error=message + log(parallel, called(), module("x = self.bn(x)"), BATCH_NORM)))
    assert found is not None
    assert found.layer is None  # whoever called the first module is in another thread
    assert found.candidates == ("bn",)
    assert any("replica 2 on device 2" in line for line in found.evidence)


def test_torch_compile_shows_the_users_frames_below() -> None:
    dynamo = frame(f"{TORCH}/_dynamo/utils.py", "run_node", "return node.target(*args, **kwargs)")
    message = (
        "torch._dynamo.exc.TorchRuntimeError: Failed running call_function <function batch_norm>(*(FakeTensor(...))):\n"
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 4])\n\n"
        "from user code:\n" + frame("net.py", "forward", "x = self.bn1(x)") + BATCH_NORM
    )
    found = diagnose_text(log(LOOP, dynamo, error=message + '\nSet TORCH_LOGS="+dynamo"\n'))
    assert found is not None
    assert (found.layer, found.shape) == ("bn1", (1, 4))


@pytest.mark.parametrize("text", [RICH, OLD_NOTEBOOK, NEW_NOTEBOOK], ids=["rich", "old-notebook", "new-notebook"])
def test_other_printers_of_tracebacks(text: str) -> None:
    found = diagnose_text("Epoch 1: 100%|█████| 9/9\n" + text)
    assert found is not None
    assert (found.layer, found.shape, found.code) == ("bn1", (1, 4), "RT101")


def test_what_this_python_and_this_pytorch_print(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import torch
        from torch import nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.ModuleDict({"bn": nn.BatchNorm2d(4)})
            def forward(self, x):
                return torch.relu(self.head["bn"](x))
        Net()(torch.zeros(2, 3, 8, 8))
    """)
    path = tmp_path / "net.py"
    path.write_text(script, encoding="utf-8")
    result = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    found = diagnose_text(result.stderr)
    assert found is not None
    assert (found.layer, found.cause, found.code) == ("head.bn", "channel-mismatch", "RT104")


def test_backward_says_that_the_frames_say_nothing() -> None:
    backward = frame("train.py", "train", "loss.backward()") + frame(f"{TORCH}/_tensor.py", "backward", "…")
    engine = frame(f"{TORCH}/autograd/__init__.py", "backward", "Variable._execution_engine.run_backward(")
    error = "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed …"
    found = diagnose_text(log(backward, engine, error=error))
    assert found is not None
    assert (found.place, found.layer, found.status) == ("backward", None, "CUDNN_STATUS_NOT_SUPPORTED")


def test_another_layers_error_is_not_blamed_on_batchnorm() -> None:
    conv = frame(f"{TORCH}/nn/modules/conv.py", "_conv_forward", "return F.conv2d(")
    found = diagnose_text(
        log(LOOP, module("x = self.conv1(x)"), conv, error="RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")
    )
    assert found is not None
    assert found.code is None
    assert any("conv.py" in line for line in found.evidence)


def test_a_delayed_error_names_no_layer_for_certain() -> None:
    error = (
        "RuntimeError: CUDA error: device-side assert triggered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call"
    )
    found = diagnose_text(log(LOOP, module("x = self.bn1(x)"), BATCH_NORM, error=error))
    assert found is not None
    assert (found.layer, found.candidates, found.code) == (None, ("bn1",), None)
    assert any("CUDA_LAUNCH_BLOCKING" in way for way in found.workarounds)


def test_the_last_line_alone_is_enough_for_the_cause() -> None:
    for text in (ONE_VALUE, ONE_VALUE.partition(": ")[2]):
        found = diagnose_text(text)
        assert found is not None
        assert (found.cause, found.layer, found.shape) == ("one-value-per-channel", None, (1, 4))


def test_an_error_that_is_not_ours_is_said_to_be_unknown() -> None:
    found = diagnose_text(log(LOOP, error="KeyError: 'label'"))
    assert found is not None
    assert (found.cause, found.code, found.layer) == ("unknown", None, None)


@pytest.mark.parametrize("text", ["", "\n\n", "Epoch 1 loss 0.3\nEpoch 2 loss 0.2\n", "│\n╭\n", '  File "x'])
def test_a_log_without_an_error_has_no_diagnosis(text: str) -> None:
    assert diagnose_text(text) is None


def test_no_log_is_too_long() -> None:
    failed = log(LOOP, module("x = self.bn1(x)"), BATCH_NORM)
    for noise in (
        "Epoch 1 12%|###   | 1/10 [00:01<00:02]\n" * 50_000,
        "|" + " " * 2_000_000 + "\n",
        "a." * 2_000_000 + "\n",
        f'  File "x.py", line 1, in a{" " * 19_000}x\n' * 20,
        "\x1b]" * 9_990 + "\n",
        "- " * 9_000 + "ERROR" + "-" * 9_000 + "\n",
        "| " * 9_000 + "1/2\n",
        "> " * 9_000 + "\n",
        "1:" * 9_000 + "\n",
    ):
        found, alone = diagnose_text(noise + failed), diagnose_text(failed)
        assert found is not None
        assert alone is not None
        assert (found.layer, found.cause, found.shape) == (alone.layer, alone.cause, alone.shape)


def test_errors_keep_their_order_and_their_messages() -> None:
    errors = read_errors(log(LOOP, error="ValueError: a\nb") + "\n" + log(LOOP, error="KeyError: 'c'"))
    assert [(e.kind, e.message) for e in errors] == [("ValueError", "a\nb"), ("KeyError", "'c'")]
