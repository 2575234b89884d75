"""The keys of a configuration: which there are in each table, and what each may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


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


TEXT = _only("a text", str)
TEXTS = Kind("a text or a list of texts", _texts)
LIST = Kind("a list of texts", _text_list)
WHOLE = _only("a whole number", int)
NUMBER = _only("a number", int, float)
SWITCH = _only("true or false", bool)
TABLE = _only("a table", dict)
SHAPES = Kind('a shape such as "3,224,224", or a list of them', _shapes)
PARTS = Kind('a text such as "0.8,0.2", or a list of numbers', _parts)
MODE = one_of("train", "eval")

TOP = {
    "models": TABLE,
    "loaders": TABLE,
    "scripts": TABLE,
    "select": TEXTS,
    "ignore": TEXTS,
    "fail-on": one_of("error", "warning", "never"),
}

MODEL = {
    "target": TEXT,
    "input": SHAPES,
    "batch-size": WHOLE,
    "mode": MODE,
    "keep-modes": SWITCH,
    "device": one_of("cuda", "cpu"),
    "set": TABLE,
    "stub": TEXTS,
    "args": LIST,
}

FOR_NUMBERS = {
    "n": WHOLE,
    "batch-size": WHOLE,
    "drop-last": SWITCH,
    "split": PARTS,
    "rounding": TEXT,
    "kfold": WHOLE,
    "iterable": SWITCH,
    "workers": WHOLE,
}

FOR_LIVE = {"target": TEXT, "count": SWITCH, "stub": TEXTS, "args": LIST}

FOR_BOTH = {
    "feeds": TEXTS,
    "mode": MODE,
    "eval": TEXTS,
    "names": LIST,
    "world-size": WHOLE,
    "sharding": TEXT,
    "sampler-drop-last": SWITCH,
    "uneven": SWITCH,
    "replicas": WHOLE,
    "micro-batches": WHOLE,
    "shard": TEXT,
}

LOADER = {**FOR_NUMBERS, **FOR_LIVE, **FOR_BOTH}

SCRIPT = {"script": TEXT, "module": TEXT, "args": LIST, "budget": NUMBER, "timeout": NUMBER, "allow-unknown": SWITCH}
