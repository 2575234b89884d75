"""Importing torch, the one slow step of every command that needs it."""

from __future__ import annotations

from bnguard._errors import BnguardError
from bnguard._untouched import paused_gc


def import_torch() -> None:
    """Import torch, and say in one line what is wrong if that fails.

    The collector rests meanwhile: an import makes a million objects that all stay, and walking them over and over
    is a tenth of its time.

    Raises:
        BnguardError: torch is missing or broken.

    """
    try:
        with paused_gc(freeze=True):
            import torch  # noqa: F401
    except Exception as error:
        raise BnguardError(
            f"torch cannot be imported: {error}", hint="pip install torch torchvision, together, in one command"
        ) from error
