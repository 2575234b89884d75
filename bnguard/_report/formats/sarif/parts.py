"""The small parts that SARIF documents are made of: messages, places, fingerprints, rules."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bnguard._report.characters import unicode_text
from bnguard._report.words import advice_of, paragraphs

if TYPE_CHECKING:
    from bnguard._facts.findings import Finding
    from bnguard._report.places import FileLocation, Places
    from bnguard._rules import Rule

_PLACEHOLDER = re.compile(r"\{(?=\d+\})|(?<=\{)(\d+)\}")
_NOWHERE = "no-file"
"""Stands where a finding is about numbers alone: GitHub wants a file for every result, and asks none to exist."""

_PAGE = "https://github.com/bnguard/bnguard/blob/main/docs/reference/rules.md"
_SEVERITY = {"error": "error", "warning": "warning", "note": "recommendation"}
"""GitHub's words for the severities of problems that are not about security."""

_TAG = {"model": "batchnorm", "loader": "dataloader", "run": "runtime"}


def message(text: str) -> dict[str, str]:
    """Return a message in which nothing is a placeholder (``{0}``) or a link (``[text](target)``) by accident."""
    plain = unicode_text(text)
    if "{" in plain:
        plain = _PLACEHOLDER.sub(lambda m: "{{" if m[1] is None else m[1] + "}}", plain)
    return {"text": plain.replace("](", "] (") or " "}


def physical(place: FileLocation | None) -> dict[str, Any]:
    """Return the place in the repository; line 1 where only the file is known."""
    path = place.path if place else _NOWHERE
    uri = quote(os.fsencode(path) if _is_of_the_disk(path) else path.encode(errors="replace"))
    line = place.line if place and place.line else 1
    # a colon in the first part would make that part a scheme
    relative = f"./{uri}" if ":" in uri.partition("/")[0] else uri
    return {"artifactLocation": {"uri": relative, "uriBaseId": "%SRCROOT%"}, "region": {"startLine": line}}


def fingerprint(finding: Finding, places: Places) -> str:
    """Return what stays the same while lines move: a hash of the code, the model or loader, and the path in it."""
    model = places.named_from_root(finding.model) if finding.model else ""
    parts = (finding.code, model, finding.loader or "", finding.layer or "")
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def descriptor(rule: Rule) -> dict[str, Any]:
    """Return the rule with its help, as text and as Markdown."""
    why, fix = paragraphs(rule.why), advice_of(rule)
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
            "tags": ["pytorch", _TAG[rule.subject]],
            "precision": "very-high",
            "problem.severity": _SEVERITY[rule.severity.label],
        },
    }


def _is_of_the_disk(path: str) -> bool:
    """Whether the name has bytes that Python could not decode, which ``os.fsencode`` gives back as they were."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True
