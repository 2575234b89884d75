"""Which stand-ins are wanted, and what was then asked of them. No torch until a stand-in needs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bnguard._errors import UsageError
from bnguard._facts.findings import Report
from bnguard._stand_ins.cuda import cuda_is_the_cpu
from bnguard._stand_ins.packages import stubbed


@dataclass(frozen=True)
class StandIns:
    """What may be stood in for.

    Attributes:
        packages: names of packages whose import gives a stand-in.
        fake_data: how many random samples torchvision's data sets have, 0 for as many as the real ones; None for the
            data sets as they are.
        cuda: whether the CPU may stand in for CUDA, where there is no device that can be used.
        cuda_claimed: whether ``torch.cuda.is_available()`` says then that there is one.

    """

    packages: tuple[str, ...] = ()
    fake_data: int | None = None
    cuda: bool = False
    cuda_claimed: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> StandIns:
        """Return what ``dataclasses.asdict`` and JSON have made of it."""
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)


REAL = "real"


def samples(fake_data: int | str | None) -> int | None:
    """Return how many random samples are wanted, 0 for as many as the real data set has, None for the data themselves.

    Raises:
        UsageError: neither a number of samples nor ``real``.

    """
    if fake_data is None:
        return None
    if fake_data == REAL:
        return 0
    try:
        count = int(fake_data)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(
            f"fake data of {fake_data!r} samples mean nothing", hint="a number such as 1000, or real for the true sizes"
        )
    return count


class StoodIn(NamedTuple):
    """What the user's code asked for, and what it got instead.

    Attributes:
        what: was asked for.
        instead: what it got.
        assumed: what every answer assumes for that, None where no answer depends on it.
        untrue: whether it is known that this is not so.

    """

    what: str
    instead: str
    assumed: str | None = None
    untrue: bool = False


def told(stood_in: Iterable[StoodIn]) -> list[dict[str, str]]:
    """Return what a report's ``stood_in`` holds."""
    return [{"what": one.what, "instead": one.instead} for one in stood_in]


@contextmanager
def standing_in(wanted: StandIns) -> Iterator[list[StoodIn]]:
    """Within the block what is wanted stands in for what is missing; the list fills with what was asked for."""
    from bnguard._stand_ins.datasets import fake_datasets
    from bnguard._stand_ins.weights import absent_weights

    found: list[StoodIn] = []

    def tell(what: str, instead: str, assumed: str | None = None, untrue: bool = False) -> None:
        one = StoodIn(what, instead, assumed, untrue)
        if one not in found:
            found.append(one)

    with ExitStack() as stack:
        stack.enter_context(stubbed(wanted.packages, lambda name: tell(name, "a stand-in for the package")))
        stack.enter_context(absent_weights(tell, fetch=True))
        if wanted.fake_data is not None:
            stack.enter_context(fake_datasets(wanted.fake_data, tell))
        if wanted.cuda:
            stack.enter_context(cuda_is_the_cpu(tell, claimed=wanted.cuda_claimed))
        yield found


@contextmanager
def cuda_standing_in(wanted: bool) -> Iterator[list[StoodIn]]:
    """Within the block the CPU alone stands in, for CUDA; what the user's files import and fetch is looked after."""
    found: list[StoodIn] = []

    def tell(what: str, instead: str) -> None:
        if StoodIn(what, instead) not in found:
            found.append(StoodIn(what, instead))

    with cuda_is_the_cpu(tell) if wanted else nullcontext():
        yield found


def telling(report: Report, stood_in: Sequence[StoodIn]) -> Report:
    """Return the report, which says what was stood in for, if anything was."""
    return replace(report, extra={**report.extra, "stood_in": told(stood_in)}) if stood_in else report
