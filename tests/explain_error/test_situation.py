"""What stands around an error tells which batch it was and what failed, and so what is advised first."""

from __future__ import annotations

import pytest
from explain_error.printed import (
    BATCH_NORM,
    LOOP,
    frame,
    log,
    module,
)

from bnguard._explain_error import diagnose_text


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("y = F.conv2d(x, w)", "a convolution (conv2d)"),
        ("y, h = self.lstm(x)", "a recurrent layer (lstm)"),
        ("y = torch.matmul(x, w)", "a linear layer (matmul)"),
        ("y = self.norm(self.conv(x))", None),
        ("y = self.block(x)", None),
    ],
)
def test_another_operation_is_named_where_the_last_line_shows_it(source: str, title: str | None) -> None:
    found = diagnose_text(log(frame("net.py", "forward", source), error="RuntimeError: CUDNN_STATUS_NOT_SUPPORTED"))
    assert found is not None
    assert (found.code is None, found.suspected) == (title is not None, title is None)
    assert title is None or any(title in line for line in found.evidence)


@pytest.mark.parametrize(
    ("kernel", "blamed"),
    [
        ("cudnnConvolutionForward", False),
        ("cudnnRNNForward", False),
        ("cudnnBatchNormalizationForwardTrainingEx", True),
    ],
)
def test_a_kernel_that_is_named_decides(kernel: str, blamed: bool) -> None:
    found = diagnose_text(f"RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED when calling `{kernel}(handle, …)`")
    assert found is not None
    assert (found.code == "RT102", found.suspected) == (blamed, False)


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("99%|████▉| 124/125 [02:17<00:01, 1.1s/it]", "tail"),
        ("Epoch 3: 100%|█████| 125/125 [02:17<00:00, 1.1s/it]", "tail"),
        ("Epoch 0/9 ━━━━━━━━━━ 124/125 0:00:12 • 0:00:00 8.99it/s", "tail"),
        ("124/125 [=======>.] - ETA: 0s", "tail"),
        ("99.20% [124/125 00:12<00:00 0.5]", "tail"),
        ("Train epoch 0:   0%|     | 0/125 [00:00<?, ?it/s]", "every-batch"),
        ("  0%|     | 0/125 [00:00<?, ?it/s]", None),
        ("epochs:   0%|     | 0/125 [00:00<?, ?it/s]", None),
        ("99%|████▉| 124/125 [4:57:00<24:43, 297.67s/ epoch]", None),
        ("46%|████ | 57/125 [02:17<00:01, 1.1s/it]", None),
        ("Epoch(train)  [1][120/125]  lr: 1.0000e-03", None),
        ("batch_size=4", "tail"),
        ("batch size: 4", "tail"),
        ("--batch-size 16 --val-batch-size 1", "tail"),
        ("batch_size=4, drop_last=True", None),
        ("batch_size=4 and batch_size=8", None),
        ("test_batch_size=2", None),
        ("batch_size=1", "every-batch"),
        ("per_device_train_batch_size=1", "every-batch"),
        ("samples_per_gpu=1", "every-batch"),
        ("batch 1/125", None),
        ("a larger batch", None),
    ],
)  # fmt: skip
def test_where_the_batch_of_one_came_from(text: str, alone: str | None) -> None:
    found = diagnose_text(f"{text}\n{log(LOOP, module('x = self.bn1(x)'), BATCH_NORM)}")
    assert found is not None
    assert found.situation is not None
    assert found.situation.alone == alone
    first = {"tail": "merge-tail", "every-batch": "larger-batches", None: "find-the-batch"}[alone]
    assert found.remedies[0].kind == first


def test_folds_are_no_chunks() -> None:
    folds = frame("train.py", "<module>", "for split in splits: train(split)") + module(
        "out = model(x)", "train", "train.py"
    )
    found = diagnose_text(log(folds, module("x = self.bn1(x)"), BATCH_NORM))
    chunks = diagnose_text(log(LOOP, module("return [self.bn(c) for c in chunks]"), BATCH_NORM))
    assert found is not None
    assert chunks is not None
    assert (found.situation and found.situation.alone, chunks.situation and chunks.situation.alone) == (None, "chunk")


def test_a_validation_bar_tells_as_a_function_does() -> None:
    bar = "Validation DataLoader 0:  99%|████▉| 124/125 [02:17<00:01, 1.1s/it]\n"
    frames = frame("train.py", "<module>", "loop(model)") + module("out = net(x)", "loop", "train.py")
    found = diagnose_text(bar + log(frames, module("x = self.bn1(x)"), BATCH_NORM))
    assert found is not None
    assert (found.remedies[0].kind, found.layer) == ("eval-mode", "bn1")
    training = diagnose_text(bar + log(LOOP, module("x = self.bn1(x)"), BATCH_NORM))
    assert training is not None
    assert training.remedies[0].kind == "merge-tail"


@pytest.mark.parametrize(
    ("line", "loader"),
    [
        ("for x, y in train_loader: model(x)", "train_loader"),
        ("for x, y in tqdm(self.train_dl): model(x)", "self.train_dl"),
        ('for x in loaders["train"]: model(x)', 'loaders["train"]'),
        ("for x in val_loader: model(x)", None),
        ("for x in zip(a_loader, b_loader): model(x)", None),
        ("model(next(it))", None),
        ("for x in DataLoader(data): model(x)", None),
        ("for x in handled: model(x)", None),
    ],
)
def test_the_loader_has_the_name_that_the_code_gives_it(line: str, loader: str | None) -> None:
    frames = frame("train.py", "<module>", "train()") + module(line, "train", "train.py")
    found = diagnose_text("batch_size=4\n" + log(frames, module("x = self.bn1(x)"), BATCH_NORM))
    assert found is not None
    assert found.situation is not None
    assert found.situation.loader == loader
    assert f"{loader or 'loader'} = bnguard.repair.merge_tail({loader or 'loader'})" == found.remedies[0].call
