"""What pages, launchers, notebooks and line ends do to a log changes nothing of what is read in it."""

from __future__ import annotations

import pytest
from explain_error.printed import (
    BATCH_NORM,
    LOOP,
    NEW_NOTEBOOK,
    ONE_VALUE,
    log,
    module,
)

from bnguard._explain_error import diagnose_text


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ("torch.Size([1, 12\n8])", (1, 128)),
        ("torch.Size([1,\n128])", (1, 128)),
        ("torch.Size([1, 32])", (1, 32)),
        ("torch.size([1,512,1,1])", (1, 512, 1, 1)),
        ("[1, 64, 1]", (1, 64, 1)),
        ("(1, 64)", (1, 64)),
        ("[1 8]", None),
        ("[,,,]", None),
        ("[]", None),
        (f"[{'1' * 5000}]", None),
        ("1", None),
    ],
)
def test_a_shape_is_read_or_left(said: str, shape: tuple[int, ...] | None) -> None:
    found = diagnose_text(f"ValueError: Expected more than 1 value per channel when training, got input size {said}")
    assert found is not None
    assert (found.shape, found.code) == (shape, "RT101")


def test_numbers_that_are_too_long_are_no_numbers() -> None:
    frame_of_old = f'  File "m.py", line {"9" * 5000}, in f\n    x = self.bn(x)\n'
    for text in (
        frame_of_old + ONE_VALUE,
        f"[rank{'1' * 5000}]: {ONE_VALUE}",
        f"{'9' * 5000}/{'9' * 5000}\n{ONE_VALUE}",
    ):
        found = diagnose_text(text)
        assert found is not None
        assert (found.shape, found.rank) == ((1, 4), None)


@pytest.mark.parametrize(
    "stamp",
    [
        "[2024-05-01 12:00:00,123] ", "2024-05-01 12:00:00,123 ", "(Worker pid=12) ", "trainer-1  | ", "> ", "> > ",
        "[rank0]: ", "[default0]:", "[1,0]<stderr>:", "0: ", "E0501 12:00:00.123456 139 loop.py:12] ",
    ],
)  # fmt: skip
def test_what_launchers_and_loggers_put_before_each_line(stamp: str) -> None:
    text = "".join(stamp + line for line in log(LOOP, module("x = self.bn1(x)"), BATCH_NORM).splitlines(keepends=True))
    found = diagnose_text(text)
    assert found is not None
    assert (found.layer, found.shape) == ("bn1", (1, 4))


@pytest.mark.parametrize(
    "before",
    [
        "2024-05-01 12:00:00,123 - trainer - ERROR - ",
        "[2024-05-01 12:00:00,123][__main__][ERROR] - ",
        "ERROR:root:",
        "05/01 12:00:00 - mmengine - ERROR - ",
        "CRITICAL 2024-05-01 12:00:00 | app | ",
    ],
)
def test_loggers_put_their_stamp_before_the_first_line_alone(before: str) -> None:
    found = diagnose_text(before + log(LOOP, module("x = self.bn1(x)"), BATCH_NORM))
    assert found is not None
    assert (found.layer, found.shape) == ("bn1", (1, 4))


@pytest.mark.parametrize("mark", ["**", "`", "```", "_", "*"])
def test_the_marks_of_a_web_page_are_taken_away(mark: str) -> None:
    found = diagnose_text(f"It ends with\n{mark}{ONE_VALUE}{mark}\nwhat now?")
    assert found is not None
    assert (found.shape, found.code) == ((1, 4), "RT101")


@pytest.mark.parametrize(
    "header",
    [
        "Input In [5], in <cell line: 2>()",
        "Cell In[5], line 2, in <cell line: 2>()",
        "<ipython-input-5-0123> in <cell line: 2>()",
    ],
)
def test_cells_of_every_release(header: str) -> None:
    text = NEW_NOTEBOOK.replace("Cell In[3], line 2", header)
    found = diagnose_text(text)
    assert found is not None
    assert (found.layer, found.remedies[0].kind) == ("bn1", "eval-mode")


def test_an_environment_may_be_called_torch() -> None:
    inside = log(LOOP, module("x = self.bn1(x)", file="/home/ann/envs/torch/lib/site-packages/nets/net.py"), BATCH_NORM)
    found = diagnose_text(inside.replace("/opt/env/", "/home/ann/envs/torch/"))
    assert found is not None
    assert found.layer == "bn1"
