"""Running the user's code without weights, and with them where it cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bnguard.errors import BnguardError
from bnguard.model.build import Construction, SkippedWeights, watched, weightless
from bnguard.target import Target, explained
from bnguard.target.training import TrainingStarted, stopped

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
        raise stopped(error, target, "the model's class") from None
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
        raise stopped(error, target, "the model's class") from None
    except (Exception, SystemExit) as error:
        raise explained(error, target) from error


_SIGNS = ("meta", "device", "item()", "numpy", SkippedWeights.__name__.lower())


def _for_want_of_weights(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or any(sign in text for sign in _SIGNS)
