"""One rule is frozen data, declared once: the catalogue, ``--select``, the docs and the reports read it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bnguard._errors import UsageError, did_you_mean
from bnguard._facts.findings import Consequence, Finding, Severity

if TYPE_CHECKING:
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact
    from bnguard._facts.models import LayerFact, Mode, ModelFact
    from bnguard._remedies import Advice, Remedy

ModelCheck = Callable[["ModelFact", "Rule"], Iterable[Finding]]
LoaderCheck = Callable[["LoaderFact", "Rule"], Iterable[Finding]]
ForecastCheck = Callable[["LoaderFact", "ForecastFact", "Rule"], Iterable[Finding]]

Needs = Literal["configuration", "calls", "batch-size", "statistics", "loader", "run"]
"""What must be known for a rule to judge: how a layer is configured; what a layer is called with; what a forward does
at a batch size; the values of the running statistics; the batches of a loader; a failure while a script runs."""

CoveredBy = Literal["nothing", "forecast", "stop", "stop-at-the-layer", "training"]
"""What in a report of forecasts says already what a finding says: nothing; any forecast (it knows the sizes that really
come); one that stops at a single sample; one that stops at this very layer; one that the model is trained in."""


@dataclass(frozen=True)
class Example:
    """A few lines in which the rule speaks, and the same lines mended; tests execute both.

    They define ``model`` and its input ``x``, or a loader; a rule of failures raises in them.
    """

    wrong: str
    right: str


CONV_NET = "model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))\n"
IMAGES = "x = torch.randn(8, 3, 8, 8)\n"
"""Lines that several examples begin or end with."""


@dataclass(frozen=True)
class Rule:
    """One entry of the catalogue: all that is known of a rule.

    Attributes:
        code: what users select and ignore, such as ``BN101``.
        name: a short kebab-case name.
        severity: of a finding unless the check says otherwise.
        summary: one line, what the rule finds.
        why: paragraphs: what PyTorch does and what it means for the user.
        fix: paragraphs: what to do, and what to mind.
        needs: what must be known to judge.
        example: wrong and right.
        remedies: the ways out, the cheapest first.
        headline: what an answer says where this rule speaks first; the summary where it is not given.
        headline_at: the same of one batch, with ``{step}`` and ``{steps}`` for its place in the epoch; '' where the
            headline is as good.
        covered_by: what else in a report of forecasts says the same.
        counts_unused: whether its findings count the samples that an epoch never shows.
        causes: of failures at run time that this rule speaks of; one that ends in ``-`` stands for all that begin so.
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
    needs: Needs
    example: Example
    remedies: tuple[Remedy, ...] = ()
    headline: str = ""
    headline_at: str = ""
    covered_by: CoveredBy = "nothing"
    counts_unused: bool = False
    causes: tuple[str, ...] = ()
    check_model: ModelCheck | None = None
    check_loader: LoaderCheck | None = None
    check_forecast: ForecastCheck | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "headline", self.headline or self.summary)

    @property
    def subject(self) -> Literal["model", "loader", "run"]:
        """What the rule judges: the layers of a model, the batches of a loader, or what a run met."""
        return "model" if self.check_model else "loader" if self.check_loader else "run"

    def about(
        self,
        model: ModelFact,
        layer: LayerFact,
        cause: str,
        *remedies: Advice,
        subject: str | None = None,
        consequence: str | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """Return what this rule says of one layer of a model, at the line that built it.

        ``cause`` is a clause that follows the subject, which is the layer's name unless given.
        """
        return Finding(
            self.code,
            self.severity if severity is None else severity,
            cause,
            subject=layer.label if subject is None else subject,
            consequence=Consequence(consequence) if consequence else None,
            remedies=remedies,
            model=model.target,
            layer=layer.name,
            layer_line=layer.source,
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

    def find(self, code: str) -> Rule | None:
        """Return the rule with exactly this code, or None."""
        return self._rules.get(code)

    def get(self, code: str) -> Rule:
        """Return the rule with this code or name (in any case), or raise UsageError with the near ones."""
        wanted = code.strip()
        for rule in self._rules.values():
            if wanted.upper() == rule.code or wanted.lower() == rule.name:
                return rule
        words = [*self._rules, *(r.name for r in self._rules.values())]
        hint = did_you_mean(wanted, words) or "`bnguard rules` lists them all"
        raise UsageError(f"there is no rule {wanted!r}", hint=hint)

    def prefixes(self, values: Iterable[str]) -> tuple[str, ...]:
        """Split repeated and comma-separated prefixes of codes: ``BN1,dl101`` → ``("BN1", "DL101")``.

        Raises:
            UsageError: one of them matches no rule: a typing error would hide findings.

        """
        found = tuple(part.strip().upper() for value in values for part in value.split(",") if part.strip())
        for prefix in found:
            if not any(code.startswith(prefix) for code in self._rules):
                hint = did_you_mean(prefix, self._rules) or "`bnguard rules` lists the codes"
                raise UsageError(f"no rule code starts with {prefix!r}", hint=hint)
        return found

    def judge(self, models: Iterable[ModelFact] = (), loaders: Iterable[LoaderFact] = ()) -> tuple[Finding, ...]:
        """Return what every rule says of these facts, worst first within a model or loader."""
        findings: list[Finding] = []
        for model in models:
            findings += _worst_first(f for r in self if r.check_model for f in r.check_model(model, r))
        for loader in loaders:
            findings += _worst_first(f for r in self if r.check_loader for f in r.check_loader(loader, r))
        return tuple(findings)

    def judge_forecasts(
        self, models: Iterable[ModelFact], loaders: Iterable[LoaderFact], forecasts: Sequence[ForecastFact]
    ) -> tuple[Finding, ...]:
        """Return the findings of forecasts, nothing twice: of the loaders with a model in view, then of the models.

        Each model is at the batch size that decides its forecast.
        """
        in_view: list[Finding] = []
        for loader in loaders:
            own = [f for f in forecasts if f.loader == loader.name]
            in_view += _worst_first(self._judge_in_view(loader, own))
        trained = {f.model for f in forecasts if f.mode == "train"}
        of_models: dict[tuple[str, str | None, str | None], Finding] = {}
        for model in models:
            for finding in self.judge(models=[model]):
                if not self._is_covered(finding, model, in_view, trained):
                    of_models.setdefault((finding.code, finding.model, finding.layer), finding)
        return (*in_view, *of_models.values())

    def _judge_in_view(self, loader: LoaderFact, forecasts: Sequence[ForecastFact]) -> Iterator[Finding]:
        for rule in self:
            if rule.check_forecast:
                found = [(f, x) for f in forecasts for x in rule.check_forecast(loader, f, rule)]
                own = {x.model for f, x in found if f.mode == loader.mode}
                for forecast, finding in found:  # a note of a model in the loader's mode covers that of the other mode
                    if forecast.mode == loader.mode or finding.severity > Severity.NOTE or finding.model not in own:
                        yield finding
            elif rule.check_loader:
                yield from rule.check_loader(loader, rule)

    def _is_covered(
        self, finding: Finding, model: ModelFact, in_view: Iterable[Finding], trained: Collection[str | None]
    ) -> bool:
        by = self._rules[finding.code].covered_by
        if by == "training":
            return finding.model in trained
        if by in ("nothing", "forecast"):
            return by == "forecast"
        stops = [f for f in in_view if f.model == finding.model and f.severity is Severity.ERROR]
        at_one = model.batch_size == 1  # a forecast names the layers that fail at a single sample, and no others
        return at_one and (bool(stops) if by == "stop" else any(f.layer == finding.layer for f in stops))


def _worst_first(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: -f.severity)


def work_of(mode: Mode) -> str:
    """Return what stops in this mode."""
    return "training" if mode == "train" else "evaluation"


def and_others(layers: Sized) -> str:
    """Return `` (and 4 more)`` for five layers of which the first is named, nothing for one."""
    return f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""


def subject_of(layers: Sequence[LayerFact], first: LayerFact | None = None) -> str:
    """Return ``head.2 (and 4 more)``: the layer that is named, by default the first one, and how many others."""
    return f"{(first or layers[0]).label}{and_others(layers)}"


def layer_and_class(label: str, kind: str | None, num_features: int | None) -> str:
    """Return a layer as ``head.2 (BatchNorm1d(128))``."""
    from bnguard._facts.models import class_text  # an audit of numbers does without the facts of models

    return f"{label} ({class_text(kind or 'a layer', num_features)})"
