"""The rules: each judges facts and returns findings; none imports torch, none prints.

A new rule is one ``Rule`` in one of the lists joined here, plus its fixtures in ``tests/rules``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from bnguard._rules.registry import Catalogue, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bnguard._facts.findings import Finding
    from bnguard._facts.loaders import LoaderFact

    CATALOGUE: Catalogue

__all__ = ["CATALOGUE", "Catalogue", "Rule", "judge_loaders", "rule_of"]

_OF_LOADERS = (f"{__name__}.tails", f"{__name__}.epochs")
_LISTS = (
    *(f"{__name__}.{name}" for name in ("batch_size", "configuration", "running_statistics", "runtime")),
    *_OF_LOADERS,
)


def rule_of(code: str) -> Rule | None:
    """Return the rule with exactly this code, or None.

    Lists that are imported are asked before the catalogue is built: a rule that found something is in one of them.
    """
    imported = (rule for name in _LISTS if name in sys.modules for rule in sys.modules[name].RULES)
    known = None if "CATALOGUE" in globals() else next((rule for rule in imported if rule.code == code), None)
    return known or __getattr__("CATALOGUE").find(code)


def __getattr__(name: str) -> Catalogue:
    """Build the catalogue when it is first asked for: judging loaders alone needs no facts of models."""
    if name != "CATALOGUE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in globals():
        globals()[name] = Catalogue(rule for module in _LISTS for rule in import_module(module).RULES)
    catalogue: Catalogue = globals()[name]
    return catalogue


def judge_loaders(facts: Iterable[LoaderFact]) -> tuple[Finding, ...]:
    """Return what the rules say of loaders without a model in view; those of models are not even imported."""
    return Catalogue(rule for module in _OF_LOADERS for rule in import_module(module).RULES).judge(loaders=facts)
