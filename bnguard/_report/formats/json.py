"""The report as one JSON document (schema 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnguard._report.formats import Context

ENDINGS = (".json",)


def render(context: Context) -> str:
    """Return the report as JSON text, one document, ending in a newline."""
    return render_document(context.report.to_dict())


def render_document(document: Mapping[str, Any]) -> str:
    """Return a document that follows docs/schema/bnguard-1.schema.json as text, ASCII, ending in a newline.

    Numbers are finite: NaN or infinity (a layer's ``eps`` may be anything) become null, since JSON has neither.
    """
    try:
        return json.dumps(document, indent=2, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value
