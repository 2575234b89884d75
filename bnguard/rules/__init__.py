"""The rules: each judges facts and returns findings; none imports torch, none prints.

A new rule is one ``Rule`` in one of the lists joined here, plus its fixtures in ``tests/rules``.
"""

from __future__ import annotations

from bnguard.rules import batch_size, configuration, loaders, running_statistics
from bnguard.rules.registry import Catalogue, Rule

CATALOGUE = Catalogue([*batch_size.RULES, *configuration.RULES, *running_statistics.RULES, *loaders.RULES])

__all__ = ["CATALOGUE", "Catalogue", "Rule"]
