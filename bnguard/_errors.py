"""The errors bnguard raises on purpose: each carries its exit code and the next step for the user."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable


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


def did_you_mean(name: str, known: Iterable[str], *, shown: Callable[[str], object] = str) -> str | None:
    """Return ``did you mean a or b?`` for the known names that are written most like this one, None where none is.

    Names that differ in case, dashes and underscores alone are the same to whoever typed them.

    Args:
        name: as it was typed.
        known: the names that are there.
        shown: turns a known name into what is to be typed.

    """
    spelled: dict[str, list[str]] = {}
    for entry in known:
        spelled.setdefault(_letters(entry), []).append(str(shown(entry)))
    typed = _letters(name)
    near = [typed] if typed in spelled else _nearest(typed, spelled)
    meant = dict.fromkeys(one for letters in near for one in spelled[letters])
    return f"did you mean {' or '.join(meant)}?" if meant else None


def _letters(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def _nearest(typed: str, known: Collection[str]) -> list[str]:
    """Return the names of the same letters, else the nearest name and at most two others that are about as near."""
    swapped = [name for name in known if name != typed and sorted(name) == sorted(typed)]
    if swapped:  # the same letters in another order: BN110 for BN101
        return swapped[:3]
    import difflib  # most requests are right

    best = difflib.get_close_matches(typed, known, n=1)
    if not best:
        return []
    return difflib.get_close_matches(typed, known, cutoff=difflib.SequenceMatcher(None, best[0], typed).ratio() - 0.1)
