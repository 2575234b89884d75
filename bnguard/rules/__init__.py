"""The rules: each judges facts and returns findings; none imports torch, none prints.

A new rule is one ``Rule`` in one of the lists joined here, plus its fixtures in ``tests/rules``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnguard.rules.registry import Catalogue, Rule

if TYPE_CHECKING:
    CATALOGUE: Catalogue

__all__ = ["CATALOGUE", "Catalogue", "Rule"]


def __getattr__(name: str) -> Catalogue:
    """Build the catalogue when it is first asked for: judging loaders alone needs no facts of models."""
    if name != "CATALOGUE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bnguard.rules import batch_size, configuration, loaders, running_statistics, runtime

    modules = (batch_size, configuration, running_statistics, loaders, runtime)
    every = [rule for module in modules for rule in module.RULES]
    globals()["CATALOGUE"] = catalogue = Catalogue(every)
    return catalogue
