"""A rule of the catalogue as SARIF describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnguard.report.words import paragraphs

if TYPE_CHECKING:
    from bnguard.rules import Rule

_PAGE = "https://github.com/bnguard/bnguard/blob/main/docs/reference/rules.md"
_SEVERITY = {"error": "error", "warning": "warning", "note": "recommendation"}
"""GitHub's words for the severities of problems that are not about security."""


def descriptor(rule: Rule) -> dict[str, Any]:
    """Return the rule with its help, as text and as Markdown."""
    why, fix = paragraphs(rule.why), paragraphs(rule.fix)
    plain = [f"{rule.summary[0].upper()}{rule.summary[1:]}.", "Why", *why, "What to do", *fix]
    marked = [f"**{rule.name}**: {rule.summary}", "### Why", *why, "### What to do", *fix]
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": " ".join(why)},
        "help": {"text": "\n\n".join(plain), "markdown": "\n\n".join(marked)},
        "helpUri": f"{_PAGE}#{rule.code.lower()}",
        "defaultConfiguration": {"level": rule.severity.label},
        "properties": {
            "tags": ["pytorch", _group(rule.code)],
            "precision": "very-high",
            "problem.severity": _SEVERITY[rule.severity.label],
        },
    }


def _group(code: str) -> str:
    return {"BN": "batchnorm", "DL": "dataloader", "RT": "runtime"}.get(code[:2], "other")
