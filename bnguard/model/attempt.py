"""Running the user's code without weights, and with them where it cannot do without."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from bnguard.errors import BnguardError, TargetError
from bnguard.model.build import Construction, SkippedWeights, TrainingStarted, watched, weightless
from bnguard.target import Target, explained
from bnguard.usercode import display_path, whose

T = TypeVar("T")


def attempt(make: Callable[[], T], target: Target, *, always_retry: bool = False) -> tuple[T, Construction]:
    """Run the user's code without weights; if that is what breaks it, run it again with them.

    Args:
        make: the user's code.
        target: where it stands.
        always_retry: whatever it raises, and not only what looks like a want of weights.

    Raises:
        BnguardError: it fails with weights too.

    """
    construction = Construction()
    try:
        with weightless(construction):
            return make(), construction
    except TrainingStarted as error:
        raise _training(error, target) from None
    except (BnguardError, SystemExit, RecursionError) as error:
        raise explained(error, target) from error
    except Exception as error:
        if not (always_retry or _for_want_of_weights(error)):
            raise explained(error, target) from error
        download = SkippedWeights.__name__ in str(error)  # it computes with what a download would have given
    return with_weights(make, target, download=download)


def with_weights(make: Callable[[], T], target: Target, *, download: bool = False) -> tuple[T, Construction]:
    """Run the user's code as it is, watched.

    Raises:
        BnguardError: what it raises, explained.

    """
    construction = Construction()
    try:
        with watched(construction, download=download):
            return make(), construction
    except TrainingStarted as error:
        raise _training(error, target) from None
    except (Exception, SystemExit) as error:
        raise explained(error, target) from error


_SIGNS = ("meta", "device", "item()", "numpy", SkippedWeights.__name__.lower())


def _for_want_of_weights(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or any(sign in text for sign in _SIGNS)


def _training(error: TrainingStarted, target: Target) -> BnguardError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if whose(f.filename) == "user"]
    where = f" ({display_path(frames[-1].filename)}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return TargetError(
        f"{target.place} starts to train when it is loaded{where}; it was stopped there",
        hint='move the training under `if __name__ == "__main__":`, or the model\'s class to a file of its own',
    )
