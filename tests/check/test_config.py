"""From TOML to declarations: the common case is short, and every slip is named with file, key and remedy."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnguard._check import declarations
from bnguard._check.config import find, read_declarations
from bnguard._errors import ConfigError

ROOT = Path(__file__).parents[2]
SHORT = """\
[models.net]
target = "model.py:Net"
[loaders.train]
n = 50_001
batch-size = 8
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "bnguard.toml") -> Path:
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write


def wrong(file: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_declarations(file)
    assert "\n" not in caught.value.message
    return caught.value


def test_the_common_case(write):
    what = read_declarations(write(SHORT))
    (net,), (train,) = what.models, what.loaders
    assert (net.name, net.target, net.inputs, net.batch_size) == ("net", "model.py:Net", (), 1)
    assert (train.feeds, train.options) == (("net",), {"n": 50001, "batch_size": 8})
    assert (what.fail_on, what.select, what.folder) == ("error", (), what.file.parent)


def test_every_key(write):
    what = read_declarations(
        write(
            """\
[tool.bnguard]
fail-on = "warning"
select = "bn1,DL"
ignore = ["BN102"]
[tool.bnguard.models]
short = "model.py:Short"
[tool.bnguard.models.net]
target = "model.py:Net"
input = ["3,224,224", "tokens=128:int64"]
keep-modes = true
device = "cpu"
set = { classes = 3, params = { hidden = 64 } }
stub = "apex"
args = ["--fast"]
[tool.bnguard.models.list]
target = "m:f"
input = [3, 8, 8]
mode = "eval"
batch-size = 2
[tool.bnguard.loaders.train]
n = 100
batch-size = 8
drop-last = true
split = [0.8, 0.2]
names = ["train", "rest"]
rounding = "floor"
world-size = 2
sharding = "distributed-sampler"
replicas = 2
micro-batches = 2
eval = "rest"
feeds = ["net", "net"]
[tool.bnguard.loaders.live]
target = "data.py:loader"
count = true
mode = "eval"
stub = ["apex"]
args = []
feeds = []
[tool.bnguard.scripts.train]
script = "train.py"
args = ["--epochs", "1"]
timeout = 60
[tool.bnguard.scripts.other]
module = "pkg.train"
""",
            "pyproject.toml",
        )
    )
    short, net, listed = what.models
    assert (short.target, listed.inputs, listed.mode, listed.batch_size) == ("model.py:Short", ("3,8,8",), "eval", 2)
    assert net.inputs == ("3,224,224", "tokens=128:int64")
    assert (net.settings, net.stubs, net.args) == ({"classes": 3, "params": {"hidden": 64}}, ("apex",), ("--fast",))
    assert (net.keep_modes, net.device) == (True, "cpu")
    train, live = what.loaders
    assert (train.feeds, train.options["eval_names"], train.options["world_size"]) == (("net",), ("rest",), 2)
    assert (live.target, live.feeds, live.options) == ("data.py:loader", (), {"count": True, "mode": "eval"})
    assert [(s.program, s.module, s.args, s.timeout) for s in what.scripts] == [
        ("train.py", False, ("--epochs", "1"), 60),
        ("pkg.train", True, (), 600),
    ]
    assert (what.fail_on, what.select, what.ignore) == ("warning", ("BN1", "DL"), ("BN102",))
    assert what.place_of("models.net") == "pyproject.toml: tool.bnguard.models.net"


def test_the_keys_of_a_loader_are_those_of_the_audit():
    import inspect

    from bnguard._audit_loader import audit_loader

    known = set(inspect.signature(audit_loader).parameters) - {"loader", "name", "progress"}
    names = {"eval": "eval_names"}
    ours = {names.get(k, k.replace("-", "_")) for k in declarations.LOADER} - {
        "target",
        "stub",
        "fake_data",
        "args",
        "feeds",
    }
    assert ours == known


TOP = "bnguard.toml: "


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("batchsize = 8", "loaders.train.batchsize is not known; did you mean batch-size?", None),
        ("batch_size = 8", "loaders.train.batch_size is not known; did you mean batch-size?", None),
        ("worldsize = 2", "loaders.train.worldsize is not known; did you mean world-size?", None),
        ("zzz = 2", "loaders.train.zzz is not known", "the keys here are n, batch-size"),
        ('n = "9"', 'loaders.train.n is the text "9"; a whole number is wanted', None),
        ("n = true", "loaders.train.n is true; a whole number is wanted", None),
        ("n = 9.0", "loaders.train.n is the number 9.0; a whole number is wanted", None),
        ("n = 1979-05-27", "loaders.train.n is a date; a whole number is wanted", None),
        ("drop-last = 1", "loaders.train.drop-last is the number 1; true or false is wanted", None),
        ("n = 9", "loaders.train has no batch-size", "give n and batch-size"),
        ("", "loaders.train has no n and no batch-size", "give n and batch-size"),
        ('target = "a:b"\nn = 9', "loaders.train.n means nothing beside a target", "leave one out"),
        ("n = 9\nbatch-size = 8\ncount = true", "loaders.train.count means nothing without a target", "for example"),
        ("n = 9\nbatch-size = 8\nmode = 'trane'", 'loaders.train.mode is the text "trane"; one of train, eval', None),
        ("target = 'a:b'\nsharding = 'magic'", 'loaders.train.sharding is the text "magic"; one of distributed-', None),
        ("target = 'a:b'\nshard = 'half'", 'loaders.train.shard is the text "half"; one of ceil, stride, none', None),
        ("n = 9\nbatch-size = 8\nfeeds = 'net'", 'loaders.train.feeds names "net", which is no model', "no model is"),
        ("n = 9\nbatch-size = 8\nnames = 'a,b'", 'loaders.train.names is the text "a,b"; a list of texts', None),
    ],
)  # fmt: skip
def test_slips_in_a_loader(write, text: str, message: str, hint: str | None):
    error = wrong(write(f"[loaders.train]\n{text}\n"))
    assert error.message.startswith(TOP + message)
    assert (error.hint is None) == (hint is None)
    assert hint is None or hint in error.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bnguard.toml declares no model, no loader and no script"),
        ("[models]\n", "bnguard.toml declares no model, no loader and no script"),
        ("[model.net]\ntarget='a'", "model is not known; did you mean models?"),
        ("models = 3", "models is the number 3; a table is wanted"),
        ("[models]\nnet = 3", "models.net is the number 3; a table is wanted"),
        ("[models.net]\n", "models.net has no target"),
        ("[models.'a.b']\ntarget='a'", 'models."a.b" is no name for an entry'),
        ("[models.net]\ntarget='a'\ninput = 3", "models.net.input is the number 3; a shape"),
        ("[models.net]\ntarget='a'\nbatch-size = 0", "models.net.batch-size must be at least 1"),
        (SHORT + "[models.net2]\ntarget='b'", "loaders.train does not say which of 2 models it feeds"),
        (SHORT.replace("[loaders", "batch-size=1\n[loaders"), "models.net.batch-size means nothing where a"),
        ("[scripts.a]\n", "scripts.a needs a script or a module"),
        ("[scripts.a]\nscript='a'\nmodule='b'", "scripts.a needs a script or a module"),
        ("[scripts.a]\nscript='a'\ntimeout=0", "scripts.a.timeout must be above 0"),
        ("select = 'XX'\n" + SHORT, "select: no rule code starts with 'XX'"),
        ("fail-on = 'always'\n" + SHORT, 'fail-on is the text "always"; one of error, warning, never'),
    ],
)  # fmt: skip
def test_other_slips(write, text: str, message: str):
    error = wrong(write(text))
    assert error.message.removeprefix(TOP).startswith(message)


def test_dotted_keys_in_pyproject(write):
    error = wrong(write("[tool.bnguard.loaders.train]\nbatchsize = 8", "pyproject.toml"))
    assert error.message == (
        "pyproject.toml: tool.bnguard.loaders.train.batchsize is not known; did you mean batch-size?"
    )
    assert wrong(write("[tool]\nbnguard = 3", "pyproject.toml")).message == "pyproject.toml: tool.bnguard is no table"
    assert wrong(write("[project]", "pyproject.toml")).message == "pyproject.toml has no [tool.bnguard]"


def test_no_toml(write):
    assert wrong(write("[models.net]\ntarget = \n")).message.startswith("bnguard.toml, line 2: ")
    assert wrong(write("[models.net]\ntarget = 'a'\n[models.net]\n")).message.startswith("bnguard.toml, line 3: ")
    assert wrong(write("[models.net]\n\ntarget = [")).message.startswith("bnguard.toml, line 3: ")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_declarations(write(b"\xff\xfe"))
    error = wrong(write(SHORT).with_name("other.toml"))
    assert error.message.startswith("cannot read ")
    assert error.hint == "in that folder: bnguard.toml"
    assert wrong(write(SHORT).parent).message.startswith("cannot read ")


def test_the_nearest_configuration_upward(tmp_path: Path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"no bnguard.toml, and no \[tool.bnguard\]") as caught:
        find(deep)
    assert "bnguard check --init" in (caught.value.hint or "")
    (tmp_path / "pyproject.toml").write_text("[tool.bnguard.models]\nx = 'a'\n")
    (deep / "pyproject.toml").write_text("[project]\nname = 'x'\n")  # without a section: further up
    assert find(deep) == tmp_path / "pyproject.toml"
    (tmp_path / "a" / "bnguard.toml").write_text(SHORT)
    assert find(deep) == tmp_path / "a" / "bnguard.toml"
    (deep / "pyproject.toml").write_text("[project\n")
    with pytest.raises(ConfigError, match=r"pyproject.toml, line 1"):
        find(deep)


SCALARS = st.sampled_from([None, True, 0, 1, -1, 9, 0.5, float("nan"), "", "net", "a:b", "train", date(2020, 1, 1)])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["a", ""]), SCALARS, max_size=1)
ENTRY = st.dictionaries(
    st.sampled_from([*declarations.LOADER, *declarations.MODEL, *declarations.SCRIPT, "x", ""]), VALUES, max_size=4
)
DOCUMENT = st.dictionaries(
    st.sampled_from([*declarations.TOP, "y"]),
    st.dictionaries(st.sampled_from(["net", "a.b", ""]), ENTRY | VALUES) | VALUES,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENT)
def test_whatever_is_written_is_read_or_refused_in_one_line(document):
    with patch("bnguard._check.config.parse", lambda _: document):
        try:
            what = read_declarations("bnguard.toml")
        except ConfigError as error:
            assert error.message.startswith("bnguard.toml")
        else:
            assert what.models or what.loaders or what.scripts


@pytest.mark.parametrize(
    "text", ["[models.net\n", "[loaders.train]\nbatchsize = 8\n", "[loaders.t]\nn = 0\nbatch-size = 8\n"]
)
def test_errors_of_the_configuration_come_without_torch(write, text: str):
    script = (
        "import sys; from bnguard._cli.app import run; code = run(['check', '--config', sys.argv[1]]);"
        "assert code == 2, code; assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(write(text))], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout == ""
    assert result.stderr.startswith("bnguard: bnguard.toml")
