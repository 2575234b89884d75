"""One rule is frozen data, declared once: the catalogue, ``--select``, the docs and the reports read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnguard.errors import UsageError, did_you_mean
from bnguard.findings import Finding, Severity

if TYPE_CHECKING:
    from bnguard.facts import LayerFact, ModelFact
    from bnguard.forecast_facts import ForecastFact
    from bnguard.loader_facts import LoaderFact

ModelCheck = Callable[["ModelFact", "Rule"], Iterable[Finding]]
LoaderCheck = Callable[["LoaderFact", "Rule"], Iterable[Finding]]
ForecastCheck = Callable[["LoaderFact", "ForecastFact", "Rule"], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """One entry of the catalogue.

    Attributes:
        code: what users select and ignore, such as ``BN101``.
        name: a short kebab-case name.
        severity: of a finding unless the check says otherwise.
        summary: one line, what the rule finds.
        why: a paragraph: what PyTorch does and what it means for the user.
        fix: a paragraph: the ways out and their price.
        check_model: judges a model's facts, None for rules of other groups.
        check_loader: judges a loader's facts, None for rules of other groups.
        check_forecast: judges a loader with a model in view, in the place of ``check_loader``; None for rules to which
            the model makes no difference.

    """

    code: str
    name: str
    severity: Severity
    summary: str
    why: str
    fix: str
    check_model: ModelCheck | None = None
    check_loader: LoaderCheck | None = None
    check_forecast: ForecastCheck | None = None

    def about(
        self,
        model: ModelFact,
        layer: LayerFact,
        message: str,
        *,
        fix: str | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """Return what this rule says of one layer of a model, at the line that built it."""
        return Finding(
            self.code,
            self.severity if severity is None else severity,
            message,
            fix=fix,
            model=model.target,
            layer=layer.name,
            location=layer.source,
        )


class Catalogue:
    """All rules by code, in code order; refuses a code or a name that is taken."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[str, Rule] = {}
        names: set[str] = set()
        for rule in sorted(rules, key=lambda r: r.code):
            if rule.code in self._rules or rule.name in names:
                raise ValueError(f"rule {rule.code} ({rule.name}) is declared twice")
            self._rules[rule.code] = rule
            names.add(rule.name)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())

    def __len__(self) -> int:
        return len(self._rules)

    def get(self, code: str) -> Rule:
        """Return the rule with this code or name (in any case), or raise UsageError with the near ones."""
        wanted = code.strip()
        for rule in self._rules.values():
            if wanted.upper() == rule.code or wanted.lower() == rule.name:
                return rule
        words = [*self._rules, *(r.name for r in self._rules.values())]
        hint = did_you_mean(wanted, words) or "`bnguard rules` lists them all"
        raise UsageError(f"there is no rule {wanted!r}", hint=hint)

    def require_prefixes(self, prefixes: Iterable[str]) -> None:
        """Raise UsageError for the first prefix that matches no rule (a typing error would hide findings)."""
        for prefix in prefixes:
            if not any(code.startswith(prefix) for code in self._rules):
                raise UsageError(f"no rule code starts with {prefix!r}", hint="`bnguard rules` lists the codes")

    def judge(self, models: Iterable[ModelFact] = (), loaders: Iterable[LoaderFact] = ()) -> tuple[Finding, ...]:
        """Return what every rule says of these facts, worst first within a model or loader."""
        found: list[Finding] = []
        for model in models:
            said = [f for r in self._rules.values() if r.check_model for f in r.check_model(model, r)]
            found += sorted(said, key=lambda f: -f.severity)
        for loader in loaders:
            said = [f for r in self._rules.values() if r.check_loader for f in r.check_loader(loader, r)]
            found += sorted(said, key=lambda f: -f.severity)
        return tuple(found)

    def judge_in_view(self, loader: LoaderFact, forecasts: Iterable[ForecastFact]) -> tuple[Finding, ...]:
        """Return what every rule says of a loader and the forecasts made with it, worst first."""
        found: list[Finding] = []
        for rule in self._rules.values():
            if rule.check_forecast:
                found += [f for forecast in forecasts for f in rule.check_forecast(loader, forecast, rule)]
            elif rule.check_loader:
                found += rule.check_loader(loader, rule)
        return tuple(sorted(found, key=lambda f: -f.severity))
