"""Words that several rules use."""

from __future__ import annotations

from collections.abc import Sized


def and_others(layers: Sized) -> str:
    """Return `` (and 4 more)`` for five layers of which the first is named, nothing for one."""
    return f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""
