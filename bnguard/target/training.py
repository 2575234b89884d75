"""Stopping a file that begins to train while it is only to be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bnguard.errors import BnguardError, TargetError
from bnguard.untouched import replaced
from bnguard.usercode import display_path, users_frames

if TYPE_CHECKING:
    from bnguard.target.text import Target


class TrainingStarted(BaseException):
    """The user's file began to train; not an Exception, so it passes ``except``.

    ``module`` is the file's module as far as it had come, where it was being imported.
    """

    module: ModuleType | None = None


@contextmanager
def refusing_to_train() -> Iterator[None]:
    """Within the block the first backward raises :class:`TrainingStarted`."""
    import torch

    def refuse(*_: Any, **__: Any) -> None:  # noqa: ANN401 - of any signature
        raise TrainingStarted

    with replaced(torch.Tensor, "backward", refuse), replaced(torch.autograd, "backward", refuse):
        yield


def stopped(error: TrainingStarted, target: Target, what: str) -> BnguardError:
    """Return the error for a file that trains before it has made what the target names.

    Args:
        error: as it was raised.
        target: that was to be loaded.
        what: the target names, such as ``the model's class``.

    """
    frames = users_frames(error)
    where = f" ({display_path(frames[-1].filename)}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return TargetError(
        f"{target.place} starts to train when it is loaded{where}; it was stopped there",
        hint=f'move the training under `if __name__ == "__main__":`, or {what} to a file of its own',
    )
