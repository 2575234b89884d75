"""Reading a target's text, importing its file, and leaving the process as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnguard._errors import BnguardError, TargetError, UserCodeError
from bnguard._targets import environment, evaluate, import_module, load_object, parse

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file below an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def fails(text: str, **options) -> BnguardError:
    with pytest.raises(BnguardError) as caught:
        load_object(text, **options)
    assert "\n" not in caught.value.message
    return caught.value


# ------------------------------------------------------------------------------------ the text


def test_the_parts_of_a_file(write: Write) -> None:
    path = write("model.py")
    target = parse("model.py:Net(a=':', b=3)")
    assert (target.place, target.module, target.expression) == ("model.py", "model", "Net(a=':', b=3)")
    assert target.roots == (str(path.parent),)
    assert parse("model.py").expression is None
    assert parse("model.py:").expression is None


def test_a_module_that_is_installed() -> None:
    target = parse("torchvision.models:resnet18")
    assert (target.path, target.module, target.expression) == (None, "torchvision.models", "resnet18")


def test_a_module_below_the_working_folder_is_the_users_file(write: Write) -> None:
    write("pkg/net.py", "value = 1")
    target = parse("pkg.net:value")
    assert target.path is not None
    assert load_object("pkg.net:value") == 1
    write("pkg/net.py", "value = 12")
    assert load_object("pkg.net:value") == 12, "an edited file is read again"


def test_a_package_folder_with_an_init_is_a_module(write: Write) -> None:
    write("pkg/__init__.py", "value = 1")
    assert load_object("pkg:value") == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("modle.py:Net", "there is no file modle.py", "did you mean model.py?"),
        ("sub/other.py", "there is no file sub/other.py", "the working folder is"),
        ("sub", "sub is a folder", "name a file in it"),
        ("sub/", "sub/ is a folder", "name a file in it"),
        ("no-such", "'no-such' is neither a file nor a module", "for example model.py"),
        ("model.py:Net(", "is not a Python expression", "for example model.py:Net(3)"),
        ("model.py:x = 1", "is not a Python expression", ""),
        ("model.py:" + "(" * 5000, "is not a Python expression", ""),
        ("", "names no file", "for example"),
        (":Net", "names no file", "for example"),
        ("x" * 5000 + ".py", "there is no file", ""),
    ],
)
def test_a_text_that_leads_nowhere(write: Write, text: str, message: str, hint: str) -> None:
    write("model.py")
    write("sub/data.txt")
    with pytest.raises(TargetError) as caught:
        parse(text)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_missing_module(write: Write) -> None:
    error = fails("torchvison.models:resnet18")
    assert error.message == "there is no module 'torchvison'"
    assert error.hint == "did you mean torchvision?"
    assert fails("torchvision.modelss:resnet18").message == "there is no module 'torchvision.modelss'"


# -------------------------------------------------------------------------------- the expression


def test_expressions(write: Write) -> None:
    write(
        "model.py", "def f(n=1):\n    return [n, n + 1]\nx = 5\ndef __getattr__(name):\n    if name == 'late': return 7"
    )
    assert load_object("model.py:x") == 5
    assert load_object("model.py:f") == [1, 2], "a function is called"
    assert load_object("model.py:f(4)[1]") == 5
    assert load_object("model.py:[y * x for y in range(2)]") == [0, 5]
    assert load_object("model.py:(lambda y: y + x)(1)") == 6
    assert load_object("model.py:late + x") == 12


def test_an_unknown_name_offers_near_ones(write: Write) -> None:
    write("model.py", "class Net: pass\nclass Head: pass\ndef build(): return 1")
    assert fails("model.py:net").hint == "did you mean Net?"
    assert fails("model.py:biuld()").hint == "did you mean build?"
    assert fails("model.py:xyz").hint == "it has: Net, Head, build"
    assert fails("model.py:xyz").message == "model.py has no 'xyz'"
    assert fails("torchvision.models:resnet81").hint.startswith("did you mean resnet18")
    assert "did you mean resnet18" in fails("torchvision:models.resnet1").hint


# ------------------------------------------------------------------------------------ the import


def test_the_file_runs_under_its_own_name_with_its_folder_first(write: Write) -> None:
    write("sub/model.py", "import sys\nfacts = (__name__, sys.path[0], sys.argv)\nif __name__ == '__main__': 1 / 0")
    name, folder, argv = load_object("sub/model.py:facts", argv=["--lr", "1"])
    assert name == "model"
    assert folder == str(Path("sub").resolve())
    assert argv == ["sub/model.py", "--lr", "1"]


@pytest.mark.parametrize("name", ["my-model.py", "model.v2.py", "a b.py", "types.py", "torch.py", "typing.py"])
def test_any_file_name(write: Write, name: str) -> None:
    import types

    import torch

    write(name, "import types\nimport torch\nvalue = torch.ones(1).item()")
    assert load_object(f"{name}:value") == 1.0
    assert sys.modules["types"] is types
    assert sys.modules["torch"] is torch


def test_relative_imports_in_a_package(write: Write) -> None:
    write("top/__init__.py", "from .sub.net import value")
    write("top/sub/__init__.py")
    write("top/sub/parts.py", "value = 3")
    write("top/sub/net.py", "import builtins\nfrom .parts import value\nfrom ..sub import parts\nruns = []")
    assert load_object("top/sub/net.py:value") == 3
    assert load_object("top/__init__.py:value") == 3
    with environment(target := parse("top/sub/net.py:runs")):
        module = import_module(target)
        assert sys.modules["top"].sub.net is module, "run once, though its package imports it too"


def test_two_folders_with_files_of_the_same_names(write: Write) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        write(f"{folder}/model.py", "from layers import value\nfrom parts.deep import deep")
        write(f"{folder}/layers.py", f"value = {value}")
        write(f"{folder}/parts/deep.py", f"deep = {value}")
    for folder, value in (("a", 1), ("b", 2), ("a", 1)):
        assert load_object(f"{folder}/model.py:(value, deep)") == (value, value)


def test_a_module_of_the_same_name_from_elsewhere_is_set_aside_and_put_back(write: Write, monkeypatch) -> None:
    write("elsewhere/layers.py", "value = 1")
    write("here/layers.py", "value = 2")
    write("here/model.py", "from layers import value")
    monkeypatch.syspath_prepend("elsewhere")
    import layers

    assert load_object("here/model.py:value") == 2
    assert sys.modules.pop("layers") is layers


def test_an_import_is_fresh_each_time(write: Write) -> None:
    write("model.py", "from part import items\nitems.append(1)")
    write("part.py", "items = []")
    with environment(target := parse("model.py:items")):
        for _ in range(2):
            assert evaluate(target, import_module(target)) == [1]


# --------------------------------------------------------------------- what the file itself does wrong


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("def f(:\n    pass", "model.py is not valid Python, line 1", "mend the line shown above"),
        ("import nowhere_at_all.part", "imports 'nowhere_at_all', which is not installed", "--stub nowhere_at_all"),
        ("import torch.nowhere", "imports 'torch.nowhere', which its package does not have", "--stub torch.nowhere"),
        ("raise ValueError('[red]no[/red] \\x1b')", "raised ValueError: [red]no[/red]", "the fault is in the file"),
        ("import sys; sys.exit(3)", "ends the program when it is loaded (sys.exit(3))", "after `--`"),
        ("def f(): return f()\nf()", "recurses without end", "the fault is in the file"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision does not match", "pip install"),
        ("from torch import no_such_name", "raised ImportError: cannot import name", "the fault is in the file"),
    ],
)
def test_a_file_that_cannot_be_imported(write: Write, source: str, message: str, hint: str) -> None:
    write("model.py", f"x = 1\n{source}" if "def f(:" not in source else source)
    error = fails("model.py:x")
    assert isinstance(error, UserCodeError)
    assert message in error.message
    assert hint in error.hint
    assert "bnguard/" not in (error.detail or "")


def test_the_users_traceback_names_the_line(write: Write) -> None:
    write("part.py", "def f():\n    raise KeyError('[bold]x')")
    write("model.py", "import part\npart.f()")
    detail = fails("model.py:x").detail
    assert detail is not None
    assert 'part.py", line 2' in detail
    assert 'model.py", line 2' in detail
    assert detail.count("File ") == 2
    assert "[bold]x" in detail


def test_a_syntax_error_in_another_file_is_blamed_on_that_file(write: Write) -> None:
    write("part.py", "x = = 1")
    write("model.py", "import part")
    assert fails("model.py:x").message.startswith("part.py is not valid Python, line 1")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x = '\xe9'", b"\x7fELF\x00\x01\x02", b"\x00"])
def test_a_file_that_is_no_text(write: Write, content: bytes) -> None:
    write("model.py").write_bytes(content)
    error = fails("model.py:x")
    assert error.exit_code == 2
    assert "model.py" in error.message
    assert "Traceback" not in (error.detail or "")


def test_an_empty_file_and_a_file_of_another_kind(write: Write) -> None:
    write("model.py")
    write("notes.txt", "x = 1")
    assert fails("model.py:x").hint == "it has: nothing"
    assert "is not a Python file" in fails("notes.txt:x").message
    assert "names a file, not an object" in fails("model.py").message


def test_an_interrupt_is_not_an_error_of_the_file(write: Write) -> None:
    write("model.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_object("model.py:x")


# --------------------------------------------------------------------------- nothing is left behind


class State:
    """What of the process a file could change."""

    def __init__(self) -> None:
        self.path, self.argv, self.finders = list(sys.path), sys.argv, list(sys.meta_path)
        self.modules = dict(sys.modules)
        self.folder, self.variables = Path.cwd(), dict(os.environ)
        self.depth = sys.getrecursionlimit()

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)

    __hash__ = None


_MEDDLES = """
import os, sys, sibling, folder.part
sys.path.append("x"); sys.argv.append("y"); sys.argv = []; sys.setrecursionlimit(5000)
os.environ["CUDA_VISIBLE_DEVICES"] = "7"; os.environ.pop("HOME", None); os.chdir("/")
value = 1
"""


@pytest.mark.parametrize("end", ["", "1 / 0", "sys.exit()", "raise KeyboardInterrupt", "import nowhere_at_all"])
def test_the_process_is_as_before(write: Write, end: str) -> None:
    write("sibling.py", "")
    write("folder/part.py", "")
    write("model.py", _MEDDLES + end)
    before = State()
    argv = list(sys.argv)
    try:
        load_object("model.py:value", stubs=["stubbed_package"], argv=["a"])
    except (BnguardError, KeyboardInterrupt):
        assert end
    assert State() == before
    assert sys.argv == argv


def test_the_callers_own_modules_stay(write: Write, monkeypatch) -> None:
    write("mine.py", "value = []")
    write("model.py", "import mine\nmine.value.append(1)\nvalue = mine.value")
    monkeypatch.syspath_prepend(".")
    import mine

    assert load_object("model.py:value") == [1]
    assert sys.modules.pop("mine") is mine
    assert mine.value == [], "the file got a fresh copy"
