"""The few colours of the console report, declared once."""

from __future__ import annotations

from bnguard.findings import Severity

SEVERITY_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}

VERDICT_STYLE = {
    "fails": "bold red",
    "single-sample": "yellow",
    "thin": "cyan",
    "ok": "green",
    "frozen": "blue",
    "not-reached": "dim",
    "unknown": "magenta",
}

DIFF_STYLE = {"---": "bold", "+++": "bold", "@@": "cyan", "+": "green", "-": "red"}
"""By how a line begins, the longer beginnings first."""
