"""bnguard: says before training starts whether a batch of one sample breaks a BatchNorm layer.

The public names are resolved on first use, so that ``import bnguard`` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnguard import repair
    from bnguard._audit_loader import audit_loader
    from bnguard._check.run import check
    from bnguard._diagnose.diagnose import diagnose
    from bnguard._errors import BnguardError
    from bnguard._facts.diagnosis import Diagnosis
    from bnguard._facts.findings import Finding, Report, Severity
    from bnguard._forecast import forecast
    from bnguard._guard import guard, install
    from bnguard._preflight.launch import preflight
    from bnguard._scan.scanner import scan

_PUBLIC = {
    "BnguardError": "bnguard._errors",
    "Diagnosis": "bnguard._facts.diagnosis",
    "Finding": "bnguard._facts.findings",
    "Report": "bnguard._facts.findings",
    "Severity": "bnguard._facts.findings",
    "audit_loader": "bnguard._audit_loader",
    "check": "bnguard._check.run",
    "diagnose": "bnguard._diagnose.diagnose",
    "forecast": "bnguard._forecast",
    "guard": "bnguard._guard",
    "install": "bnguard._guard",
    "preflight": "bnguard._preflight.launch",
    "scan": "bnguard._scan.scanner",
}

__all__ = [
    "BnguardError",
    "Diagnosis",
    "Finding",
    "Report",
    "Severity",
    "__version__",
    "audit_loader",
    "check",
    "diagnose",
    "forecast",
    "guard",
    "install",
    "preflight",
    "repair",
    "scan",
]


def __getattr__(name: str) -> object:
    if name == "repair":
        return import_module("bnguard.repair")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'bnguard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
