"""The errors bnguard raises on purpose: each carries its exit code and the next step for the user."""

from __future__ import annotations


class BnguardError(Exception):
    """A request that could not be carried out.

    Args:
        message: one line that says what is wrong.
        hint: one line that says what to do next, or None.
        detail: more lines for the reader, such as the user's own traceback, or None.

    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail


class UsageError(BnguardError):
    """An option or argument has a value that means nothing."""


class TargetError(BnguardError):
    """A target does not lead to the model or loader it names."""


class UserCodeError(BnguardError):
    """The user's own code raised; ``detail`` holds its traceback, cut to the user's frames."""


class FileError(BnguardError):
    """A file of the user's cannot be read, understood or written; other files may still be."""


class InputError(BnguardError):
    """A description of model inputs that cannot be read or made."""


class RepairError(BnguardError):
    """A fix that cannot do what it promises; what it was given is as it was before."""


class ConfigError(BnguardError):
    """A configuration that cannot be found or read; the message names the file and the key."""
