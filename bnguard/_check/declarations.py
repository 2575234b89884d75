"""What a configuration declares, as frozen data without torch: models, loaders, scripts; and which keys it may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bnguard._audit_loader.sharding import LAWS
from bnguard._audit_loader.sharding.workers import WORKER_SHARDINGS
from bnguard._facts.findings import FAIL_ON
from bnguard._facts.models import Mode
from bnguard._stand_ins.request import REAL


@dataclass(frozen=True)
class _Entry:
    kind: ClassVar[str]
    name: str

    @property
    def entry(self) -> str:
        """Where it stands in the configuration."""
        return f"{self.kind}.{self.name}"


@dataclass(frozen=True)
class ModelEntry(_Entry):
    """One model.

    Attributes:
        name: in the report.
        target: that names or builds it.
        inputs: texts such as ``3,224,224``; empty where the loaders or the model are to say.
        batch_size: at which it is scanned, where no loader feeds it.
        mode: in which it is scanned then.
        keep_modes: leave every module's training flag as it is for training loaders.
        device: whose batch_norm backend to predict.
        settings: constructor arguments; a table within is one namespace.
        stubs: packages to stand in for.
        args: ``sys.argv[1:]`` of the target's file.
        allow_unknown: whether a training loader of which nothing can be said is fine.

    """

    kind = "models"
    target: str
    inputs: tuple[str, ...] = ()
    batch_size: int = 1
    mode: Mode = "train"
    keep_modes: bool = False
    device: str = "cuda"
    settings: Mapping[str, Any] = field(default_factory=dict)
    stubs: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    allow_unknown: bool = False


@dataclass(frozen=True)
class LoaderEntry(_Entry):
    """One loader, by numbers or live.

    Attributes:
        name: in the report; the parts of a split follow it after a dot.
        feeds: names of models.
        target: that names or makes the live loader; None for numbers.
        options: keywords of ``bnguard.audit_loader``.
        stubs: packages to stand in for.
        args: ``sys.argv[1:]`` of the target's file.
        fake_data: how many random samples stand in for each data set of torchvision's, or ``real``.

    """

    kind = "loaders"
    feeds: tuple[str, ...] = ()
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stubs: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    fake_data: int | str | None = None


@dataclass(frozen=True)
class ScriptEntry(_Entry):
    """One training script, or with ``module`` a module's name, to be run with one batch of every kind."""

    kind = "scripts"
    program: str
    module: bool = False
    args: tuple[str, ...] = ()
    budget: float = 30.0
    timeout: float = 600.0
    allow_unknown: bool = False
    stubs: tuple[str, ...] = ()
    fake_data: int | str | None = None


@dataclass(frozen=True)
class Declared:
    """All that one file declares.

    Attributes:
        file: which file; paths in it are relative to its folder.
        place: its name and the dotted prefix of its keys, for messages.
        select: prefixes of codes to report; empty for all.
        cuda_stand_in: whether the CPU may stand in for CUDA.

    """

    file: Path
    place: str
    models: tuple[ModelEntry, ...] = ()
    loaders: tuple[LoaderEntry, ...] = ()
    scripts: tuple[ScriptEntry, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str = "error"
    cuda_stand_in: bool = True

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self.file.parent

    def place_of(self, entry: str) -> str:
        """Return where an entry stands, as messages say it: ``pyproject.toml: tool.bnguard.models.net``."""
        return f"{self.place}{'' if self.place.endswith(': ') else '.'}{entry}"


class Kind(NamedTuple):
    """What a key may hold: in words, and how it is read; reading raises ValueError for anything else."""

    words: str
    read: Callable[[Any], Any]


def _only(words: str, *types: type) -> Kind:
    def read(value: object) -> object:
        if type(value) in types:  # not isinstance: true and false are integers to Python
            return value
        raise ValueError

    return Kind(words, read)


def one_of(*words: str) -> Kind:
    """Return the kind that is one of these words."""

    def read(value: object) -> object:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError

    return Kind(f"one of {', '.join(words)}", read)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise ValueError


def _text_list(value: object) -> tuple[str, ...]:
    return _texts(value if isinstance(value, list) else None)


def _shapes(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and value and all(type(v) is int for v in value):
        return (",".join(map(str, value)),)
    return _texts(value)


def _parts(value: object) -> object:
    if isinstance(value, str) or (isinstance(value, list) and all(type(v) in (int, float) for v in value)):
        return value
    raise ValueError


def _fake(value: object) -> object:
    if value == REAL or (type(value) is int and value > 0):
        return value
    raise ValueError


_FAKE_DATA = Kind(f'a number of samples or "{REAL}"', _fake)
TEXT = _only("a text", str)
TEXTS = Kind("a text or a list of texts", _texts)
_LIST = Kind("a list of texts", _text_list)
WHOLE = _only("a whole number", int)
_NUMBER = _only("a number", int, float)
_SWITCH = _only("true or false", bool)
TABLE = _only("a table", dict)
_SHAPES = Kind('a shape such as "3,224,224", or a list of them', _shapes)
PARTS = Kind('a text such as "0.8,0.2", or a list of numbers', _parts)
_MODE = one_of("train", "eval")

TOP = {
    "models": TABLE,
    "loaders": TABLE,
    "scripts": TABLE,
    "select": TEXTS,
    "ignore": TEXTS,
    "fail-on": one_of(*FAIL_ON),
    "cuda-stand-in": _SWITCH,
}

MODEL = {
    "target": TEXT,
    "input": _SHAPES,
    "batch-size": WHOLE,
    "mode": _MODE,
    "keep-modes": _SWITCH,
    "device": one_of("cuda", "cpu"),
    "set": TABLE,
    "stub": TEXTS,
    "args": _LIST,
    "allow-unknown": _SWITCH,
}

FOR_NUMBERS = {
    "n": WHOLE,
    "batch-size": WHOLE,
    "drop-last": _SWITCH,
    "split": PARTS,
    "rounding": TEXT,
    "kfold": WHOLE,
    "iterable": _SWITCH,
    "workers": WHOLE,
}

FOR_LIVE = {"target": TEXT, "count": _SWITCH, "stub": TEXTS, "fake-data": _FAKE_DATA, "args": _LIST}

_FOR_BOTH = {
    "feeds": TEXTS,
    "mode": _MODE,
    "eval": TEXTS,
    "names": _LIST,
    "world-size": WHOLE,
    "sharding": one_of(*LAWS),
    "sampler-drop-last": _SWITCH,
    "uneven": _SWITCH,
    "replicas": WHOLE,
    "micro-batches": WHOLE,
    "shard": one_of(*WORKER_SHARDINGS),
}

LOADER = {**FOR_NUMBERS, **FOR_LIVE, **_FOR_BOTH}

SCRIPT = {
    "script": TEXT,
    "module": TEXT,
    "args": _LIST,
    "stub": TEXTS,
    "fake-data": _FAKE_DATA,
    "budget": _NUMBER,
    "timeout": _NUMBER,
    "allow-unknown": _SWITCH,
}
