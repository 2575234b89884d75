"""The report as one JSON document (schema 1)."""

from __future__ import annotations

import json

from bnguard.findings import Report


def render(report: Report) -> str:
    """Return the report as JSON text, one document, ending in a newline.

    Numbers are finite: NaN or infinity (a layer's ``eps`` may be anything) become null, since JSON has neither.
    """
    document = report.to_dict()
    try:
        return json.dumps(document, indent=2, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value
