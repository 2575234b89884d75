"""What a program catches, prints or logs, and says nothing more of: its exit code alone tells that it has failed."""

from __future__ import annotations

import functools
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bnguard._diagnose.classify import classify

if TYPE_CHECKING:
    from bnguard._facts.diagnosis import Diagnosis


class Shown:
    """Notices the tracebacks that a program makes a text of, within the block; costs nothing before there is one.

    ``logging``, ``traceback`` and what is built on them make it with ``traceback.TracebackException``.

    Args:
        replay: whether to repeat a failed call on copies.

    Attributes:
        last: the diagnosis of the last failed normalisation call among them; no tensor is kept alive for it.

    """

    def __init__(self, replay: bool) -> None:
        self.last: Diagnosis | None = None
        self._replay = replay
        self._words = ""
        self._busy = threading.local()

    def __enter__(self) -> Shown:
        self._make = make = traceback.TracebackException.__init__

        @functools.wraps(make)
        def make_and_notice(shown: Any, kind: Any, error: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            make(shown, kind, error, *args, **kwargs)
            self._notice(error)

        traceback.TracebackException.__init__ = make_and_notice  # type: ignore[method-assign,assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        traceback.TracebackException.__init__ = self._make  # type: ignore[method-assign]

    def _notice(self, error: object) -> None:
        """Diagnose the error if its words are those of a normalisation, once for the same words; never raises."""
        if "torch" not in sys.modules or not isinstance(error, Exception) or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        with suppress(Exception):
            words = f"{type(error).__name__}: {error}"
            if words != self._words and classify(str(error), type(error).__name__).code is not None:
                self._words = words
                self._diagnose(error)
        self._busy.now = False

    def _diagnose(self, error: Exception) -> None:
        from bnguard._diagnose.diagnose import find_failure

        if getattr(error, "bnguard", None) is not None:
            return  # a guard of the program's own has told it
        found = find_failure(error, replay=self._replay)
        if found is not None:
            caught = "the script caught it and went on, and failed in the end: its exit code says so"
            self.last = replace(found[1], evidence=(*found[1].evidence, caught))
