"""What Lightning needs to build a repaired loader anew, with a sampler of one rank in the place of the loader's own.

It calls the class of a loader and of its batch sampler with the arguments that it has noted on each of them
(``lightning/fabric/utilities/data.py``). It notes them itself only in a ``*_dataloader`` hook, and only for classes
that were imported before the hook began.
"""

from __future__ import annotations

from typing import Any


def note_arguments(made: object, **arguments: object) -> None:
    """Note how this was made, as Lightning does: without it nobody knows of a ``min_size``."""
    _note(made, args=(), kwargs=arguments, arg_names=(), default_kwargs={})


def name_arguments(loader: Any) -> None:  # noqa: ANN401 - a DataLoader or a subclass
    """Give the arguments that Lightning has noted their names, where it noted any.

    It adds ``batch_size=1`` beside a batch sampler, and that contradicts one given by position.
    """
    args, names = _noted(loader, "args", ()), _noted(loader, "arg_names", ())
    if args and len(args) == len(names):
        named = dict(zip(names, args, strict=True))
        _note(loader, args=(), arg_names=(), kwargs={**named, **_noted(loader, "kwargs", {})})


def _noted(loader: object, name: str, otherwise: Any) -> Any:  # noqa: ANN401 - a tuple or a dict
    return vars(loader).get(f"__pl_saved_{name}", otherwise)


def _note(made: object, **saved: object) -> None:
    for name, value in saved.items():
        object.__setattr__(made, f"__pl_saved_{name}", value)
