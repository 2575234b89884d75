"""Whose file a frame belongs to, and what of a traceback is shown."""

from __future__ import annotations

import json
import runpy
import sysconfig
import traceback
from pathlib import Path

import pytest
import torch

import bnguard
from bnguard._usercode import display_path, one_line, user_traceback, users_frames, whose, without_launchers


def caught(call) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def deeper(n: int) -> int:
    return other(n + 1)


def other(n: int) -> int:
    return deeper(n + 1)


@pytest.mark.parametrize(
    ("filename", "owner"),
    [
        ("/home/me/model.py", "user"),
        ("/venv/lib/python3.11/site-packages/timm/layers/norm.py", "library"),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "library"),
        (str(Path(torch.__file__).parent / "nn/modules/module.py"), "torch"),
        (str(Path(bnguard.__file__).parent / "_errors.py"), "bnguard"),
        (f"{sysconfig.get_path('stdlib')}/json/decoder.py", "python"),
        ("<frozen importlib._bootstrap>", "python"),
        ("<string>", "python"),
    ],
)
def test_whose(filename: str, owner: str) -> None:
    assert whose(filename) == owner


def test_a_traceback_shows_the_users_frames_alone() -> None:
    text = user_traceback(caught(lambda: torch.nn.Linear(2, 2)(torch.zeros(3, 3))))
    assert text is not None
    assert "test_usercode.py" in text
    assert "torch/nn" not in text
    assert text.splitlines()[-1].startswith("RuntimeError: ")


def test_a_traceback_without_the_user_is_none() -> None:
    error = caught(lambda: json.loads("{"))
    error.__traceback__ = error.__traceback__.tb_next.tb_next
    assert user_traceback(error) is None


def test_frames_of_a_library_stand_between_the_users_alone() -> None:
    path = sysconfig.get_path("purelib")
    space = {"deeper": lambda: torch.zeros(2) @ torch.zeros(3)}
    exec(compile("def library(f): f()\ndef outer(f): library(f)", f"{path}/some/file.py", "exec"), space)
    error = caught(lambda: space["outer"](space["deeper"]))
    here = Path(__file__).name
    assert [Path(f.filename).name for f in users_frames(error)] == [here, here, "file.py", "file.py", here]
    error = caught(lambda: space["outer"](lambda: space["library"](lambda: json.loads("{"))))
    assert Path(users_frames(error)[-1].filename).name == here


def test_a_traceback_begins_below_the_launchers(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import json\njson.loads('{')\n")
    error = caught(lambda: runpy.run_path(str(script)))
    assert error.__traceback__ is not None
    frames = traceback.extract_tb(without_launchers(error.__traceback__.tb_next.tb_next))
    assert [Path(f.filename).name for f in frames][:2] == ["train.py", "__init__.py"]
    assert without_launchers(None) is None


def test_an_endless_recursion_is_shortened() -> None:
    text = user_traceback(caught(lambda: deeper(0)))
    assert text is not None
    assert len(text.splitlines()) < 60
    assert "frames …" in text


def test_a_syntax_error_is_shown_with_its_line() -> None:
    error = caught(lambda: compile("def f(:\n  pass", "model.py", "exec"))
    text = user_traceback(error)
    assert text is not None
    assert 'File "model.py", line 1' in text
    assert "Traceback" not in text


def test_one_line() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(KeyError()) == "KeyError"


def test_a_path_is_shown_from_the_working_folder_of_the_moment(tmp_path: Path, monkeypatch) -> None:
    file = str(tmp_path / "sub" / "model.py")
    monkeypatch.chdir(tmp_path)
    assert display_path(file) == str(Path("sub", "model.py"))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert display_path(file) == "model.py"
    monkeypatch.chdir(Path(__file__).parent)
    assert display_path(file) == file
