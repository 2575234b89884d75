"""Putting the CPU in the place of CUDA, and everything back; what all parts of it share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bnguard._stand_ins.cuda import device
from bnguard._stand_ins.once_imported import imported_within, once_imported

Tell = Callable[[str, str], None]
"""Is told what was asked for, and what it is instead."""


class State:
    """What holds while CUDA is stood in for.

    Attributes:
        claimed: whether ``torch.cuda.is_available()`` says that there is a device.
        asked_whether: whether somebody outside of torch has asked that.
        place: where a tensor is made for which a CUDA device is named; a trace on shapes wants ``meta``.

    """

    def __init__(self, tell: Tell, tell_in_process: Tell | None, *, claimed: bool) -> None:
        self.claimed = claimed
        self.asked_whether = False
        self.place = "cpu"
        self._tells = [tell]
        self._tell_in_process = tell_in_process

    @contextmanager
    def also_telling(self, tell: Tell) -> Iterator[None]:
        """Tell somebody else too within the block."""
        self._tells.append(tell)
        try:
            yield
        finally:
            self._tells.remove(tell)

    def take_tell_in_process(self) -> Tell | None:
        """Return what is told in the first process that the script starts; None for all others."""
        tell, self._tell_in_process = self._tell_in_process, None
        return tell

    def told(self) -> None:
        """Tell that CUDA was really asked for."""
        self.tell("cuda", "the CPU")

    def tell(self, what: str, instead: str) -> None:
        """Tell what was asked for, and what it is instead."""
        for tell in self._tells:
            tell(what, instead)

    def instead_of(self, place: Any) -> Any:  # noqa: ANN401 - a device in any of its forms
        """Return the device to take: another one for CUDA, any other as it is."""
        if not is_cuda(place):
            return place
        self.told()
        return self.place


_state: State | None = None


def state() -> State | None:
    """Return what holds now; None where nothing is stood in for."""
    return _state


def told() -> None:
    """Tell that CUDA was really asked for, while it is stood in for."""
    if _state is not None:
        _state.told()


@contextmanager
def cuda_is_the_cpu(tell: Tell, tell_in_process: Tell | None = None, *, claimed: bool = False) -> Iterator[None]:
    """Within the block the CPU stands in for CUDA, if this machine has no CUDA device that can be used.

    torch is not imported for that: where it is not there yet, all is put in place as soon as it is.

    Args:
        tell: called whenever something else is taken than was asked for.
        tell_in_process: the same in the first process that the script starts; it is pickled to there.
        claimed: let ``torch.cuda.is_available()`` and ``device_count()`` say that there is one device.

    """
    if _state is not None:  # one within the other: a check that scans
        with _state.also_telling(tell):
            yield
        return
    with ExitStack() as stack:
        new = State(tell, tell_in_process, claimed=claimed)
        stack.enter_context(once_imported({"torch": lambda _: _put_in_place(stack, new)}))
        yield


def was_denied() -> bool:
    """Whether somebody has asked if there is a CUDA device, and was told no."""
    return _state is not None and _state.asked_whether and not _state.claimed


def _put_in_place(stack: ExitStack, new: State) -> None:
    if device.has_usable_device():
        return
    from bnguard._stand_ins.cuda import calls, parallel, tensors

    global _state  # noqa: PLW0603 - what it replaces is there once for the process
    _state = new
    stack.callback(_leave)
    for part in (tensors, calls, parallel):
        part.replace(Replaced(stack), new)


def _leave() -> None:
    global _state  # noqa: PLW0603 - see above
    _state = None


class Replaced:
    """Attributes that have other values until the stack is closed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._values: list[tuple[Any, str, Any, Any]] = []

    def put(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:  # noqa: ANN401 - a class or module
        """Put in place of an attribute what is made of it; where this torch has no such attribute nothing happens."""
        if not hasattr(owner, name):
            return
        before = vars(owner).get(name, _INHERITED)
        value = make(getattr(owner, name))
        self._values.append((owner, name, before, value))
        setattr(owner, name, value)
        self._stack.callback(_give_back, owner, name, before)

    def set_aside_for(self, module: str) -> None:
        """Let a module be imported with all as it was, if it has not been yet."""
        if module not in sys.modules:
            self._stack.enter_context(imported_within(module, self.set_aside))

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Within the block all is as it was."""
        for owner, name, before, _ in reversed(self._values):
            _give_back(owner, name, before)
        try:
            yield
        finally:
            for owner, name, _, value in self._values:
                setattr(owner, name, value)


_INHERITED = object()


def _give_back(owner: Any, name: str, before: object) -> None:  # noqa: ANN401 - a class or module
    if before is _INHERITED:
        delattr(owner, name)
    else:
        setattr(owner, name, before)


@contextmanager
def made_on(place: str) -> Iterator[None]:
    """Within the block a tensor that is made or moved for CUDA is on this device."""
    if _state is None:
        yield
        return
    before, _state.place = _state.place, place
    try:
        yield
    finally:
        _state.place = before


def is_cuda(place: Any) -> bool:  # noqa: ANN401 - a device in any of its forms
    """Whether this names a CUDA device; a number alone does."""
    if isinstance(place, str):
        return place == "cuda" or place.startswith("cuda:")
    return type(place) is int or getattr(place, "type", None) == "cuda"


# --------------------------------------------------------------------------------- processes of the script's


class InProcess:
    """A process's target for which CUDA is stood in there too; it is pickled to where the process starts."""

    def __init__(self, target: Callable[..., object], tell: Tell | None, *, claimed: bool) -> None:
        self.target = target
        self.tell = tell or _say_nothing
        self.claimed = claimed
        self.__module__ = getattr(target, "__module__", None) or ""

    def __call__(self, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - the target's own
        """Run the target; a process that was forked off has all in place already."""
        with cuda_is_the_cpu(self.tell, claimed=self.claimed):
            return self.target(*args, **kwargs)


def _say_nothing(*_: object) -> None:
    """Somebody else says it."""
