"""The ``loader`` argument of a forecast: live loaders, the text that names them, or numbers; audited in each case."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from bnguard.errors import UsageError, did_you_mean
from bnguard.loader import audit_loader
from bnguard.loader.live import live_loaders
from bnguard.loader_facts import LoaderFact, Suggestion
from bnguard.target import load_object
from bnguard.untouched import quiet


class OneLoader(NamedTuple):
    """A loader as audited, and itself; None where it is given by numbers."""

    fact: LoaderFact
    live: DataLoader[Any] | None


class Audited(NamedTuple):
    """The loaders of a forecast and the ways out that the audit found."""

    each: tuple[OneLoader, ...]
    suggestions: Sequence[Suggestion]


def audited(loader: object, *, argv: Sequence[str], stubs: Sequence[str], **options: Any) -> Audited:  # noqa: ANN401
    """Audit what the ``loader`` argument stands for.

    Args:
        loader: see ``bnguard.forecast``.
        argv: for the file of a target.
        stubs: for the file of a target.
        options: of ``audit_loader``.

    Raises:
        BnguardError: it cannot be loaded or audited.

    """
    if isinstance(loader, str):
        with quiet():
            loader = load_object(loader, argv=argv, stubs=stubs)
    if isinstance(loader, Mapping) and not live_loaders(loader) and {"n", "batch_size"} & set(loader):
        return _numbers(loader, options)
    report = audit_loader(loader, **options)
    lives = (live for _, live in live_loaders(loader))
    return Audited(tuple(map(OneLoader, report.loaders, lives)), report.suggestions)


def _numbers(numbers: Mapping[str, Any], options: dict[str, Any]) -> Audited:
    known = list(inspect.signature(audit_loader).parameters)[1:]
    wrong = next((key for key in numbers if key not in known), None)
    if wrong is not None:
        hint = did_you_mean(str(wrong), known) or f"they are {', '.join(known)}"
        raise UsageError(f"the numbers of a loader have no {wrong!r}", hint=hint)
    if isinstance(numbers.get("n"), range) or ".." in str(numbers.get("n")):
        raise UsageError("a forecast is of one number of samples, not of a range", hint="audit_loader takes ranges")
    options.pop("count")
    report = audit_loader(**{**options, **numbers})
    return Audited(tuple(OneLoader(fact, None) for fact in report.loaders), report.suggestions)
