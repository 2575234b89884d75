"""Which loaders the model trains on: told by their names, as people write them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnguard._facts.models import Mode

_EVAL_WORDS = {
    "val", "valid", "validate", "validation", "validating", "test", "testing", "eval", "evaluate", "evaluation",
    "dev", "holdout", "predict", "inference",
}  # fmt: skip
_TRAIN_WORDS = {"train", "training", "trainval", "fit"}
_TAILS = re.compile(r"(?<=\w)(data_?loaders?|loaders?|datasets?|sets?|dl|ds|iter|data|split)$")


def mode_of(name: str, eval_names: Collection[str] = ()) -> Mode:
    """Return ``eval`` for names such as ``val``, ``test_loader`` or ``validloader``, else ``train``.

    A name that says both (``train_val``) or neither counts as training: there one sample is an error, and
    an error that is none is easier to see than a warning that should have been one.
    """
    return "eval" if name in eval_names else stated_mode(name) or "train"


def stated_mode(name: str) -> Mode | None:
    """Return what the name says, ``train`` or ``eval``; None where it says both or neither."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    known = {form for word in words for form in (word, _TAILS.sub("", word).rstrip("_"))}
    trains, evaluates = bool(known & _TRAIN_WORDS), bool(known & _EVAL_WORDS)
    if trains == evaluates:
        return None
    return "train" if trains else "eval"


def default_names(count: int) -> tuple[str, ...]:
    """Return the usual names of the parts of a split: train, val, test, then numbers."""
    usual = ("train",) if count == 1 else ("train", "val") if count == 2 else ("train", "val", "test")
    return usual + tuple(f"part {i}" for i in range(len(usual) + 1, count + 1))
