"""Wording what the user's code raised because this machine lacks something, and naming the way on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bnguard._errors import BnguardError, UserCodeError
from bnguard._stand_ins.dataset_kinds import KINDS
from bnguard._stand_ins.network import is_download_failure, needs_network
from bnguard._stand_ins.packages import is_stand_in, missing
from bnguard._usercode import constructing, display_path, in_the_way, one_line, user_traceback, values_at

_DATASETS = "/torchvision/datasets/"
_ABSENT = "AbsentWeights"  # by its name, as its file imports torch


def lacking(error: BaseException, who: str, *, fake_data: bool = True) -> BnguardError | None:
    """Return what to tell of an error that comes from something that this machine lacks, None for any other.

    Args:
        error: raised by the user's code.
        who: raised it: ``the script``, ``train.py``.
        fake_data: whether ``--fake-data`` is an option of the command.

    """
    if isinstance(error, BnguardError):
        return error
    return in_the_way(error) or _dataset(error, who, fake_data) or _package(error, who) or _download(error, who)


def _dataset(error: BaseException, who: str, fake_data: bool) -> BnguardError | None:
    """Of a data set of torchvision's that is not there, say how to go on without it."""
    if isinstance(error, (TypeError, ValueError)):  # an argument that means nothing
        return None
    for dataset in constructing(error, _DATASETS):
        name = next((kind.__name__ for kind in type(dataset).__mro__ if kind.__name__ in KINDS), None)
        if name is not None:
            amount = "real, for as many as the real one has" if KINDS[name].lengths else "1000, or how many it has"
            random = f"go on with random samples: --fake-data {amount}"
            return UserCodeError(
                f"{who} reads the data set {name}, which is not here ({one_line(error)})",
                hint=random
                if fake_data
                else 'read data under `if __name__ == "__main__":`, not when the file is imported',
                detail=user_traceback(error),
            )
    return None


def _package(error: BaseException, who: str) -> BnguardError | None:
    if not (isinstance(error, ModuleNotFoundError) and error.name):
        return None
    fault, hint = missing(error.name)
    return UserCodeError(f"{who} imports {fault}", hint=hint, detail=user_traceback(error))


def _download(error: BaseException, who: str) -> BnguardError | None:
    if _ABSENT in str(error):
        return UserCodeError(
            f"{who} computes with pretrained weights that could not be downloaded",
            hint="have them in the cache first, or run this where there is a network",
            detail=user_traceback(error),
        )
    return needs_network(error, who) if is_download_failure(error) else None


def perhaps_lacking(error: BaseException, who: str, stubbed: Iterable[str] = ()) -> BnguardError | None:
    """Return what to tell of an error that may come from a file that is not there, or from a stand-in for a package.

    A stand-in is suspected where the function that failed has one at hand.
    """
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return UserCodeError(
            f"{who} asks for {display_path(error.filename)}, which is not there",
            hint=f"run this where the file is, or name another in the arguments; the working folder is {Path.cwd()}",
            detail=user_traceback(error),
        )
    names = ", ".join(stubbed)
    if not names or not any(map(is_stand_in, values_at(error))):
        return None
    return UserCodeError(
        f"{who} raised {one_line(error)}, perhaps only because {names} is a stand-in",
        hint="a stand-in has no behaviour of its own: install the package, or leave the call out",
        detail=user_traceback(error),
    )
