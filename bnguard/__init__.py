"""bnguard: says before training starts whether a batch of one sample breaks a BatchNorm layer.

The public names are resolved on first use, so that ``import bnguard`` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnguard import repair
    from bnguard._preflight.launch import preflight
    from bnguard.checking.run import check
    from bnguard.errors import BnguardError
    from bnguard.findings import Finding, Report, Severity
    from bnguard.forecasting import forecast
    from bnguard.loader import audit_loader
    from bnguard.model import scan
    from bnguard.runtime.diagnosis import Diagnosis
    from bnguard.runtime.guard import guard, install
    from bnguard.runtime.postmortem import diagnose

_PUBLIC = {
    "BnguardError": "bnguard.errors",
    "Diagnosis": "bnguard.runtime.diagnosis",
    "Finding": "bnguard.findings",
    "Report": "bnguard.findings",
    "Severity": "bnguard.findings",
    "audit_loader": "bnguard.loader",
    "check": "bnguard.checking.run",
    "diagnose": "bnguard.runtime.postmortem",
    "forecast": "bnguard.forecasting",
    "guard": "bnguard.runtime.guard",
    "install": "bnguard.runtime.guard",
    "preflight": "bnguard._preflight.launch",
    "scan": "bnguard.model",
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
