"""Importing torch, the one slow step of every command that needs it."""

from __future__ import annotations

from bnguard._errors import BnguardError
from bnguard._untouched import paused_gc
from bnguard._usercode import in_the_way


def import_torch() -> None:
    """Import torch, and say in one line what is wrong if that fails.

    The collector rests meanwhile: an import makes a million objects that all stay, and walking them over and over
    is a tenth of its time.

    Raises:
        BnguardError: torch is missing or broken, or a file of the user's is in the way of a module that it needs.

    """
    try:
        with paused_gc(freeze=True):
            import torch  # noqa: F401
    except Exception as error:
        shadowed = in_the_way(error)
        if shadowed is not None:
            raise shadowed from error
        raise BnguardError(
            f"torch cannot be imported: {error}", hint="pip install torch torchvision, together, in one command"
        ) from error
