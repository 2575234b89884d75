"""Words that several rules use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sized


def and_others(layers: Sized) -> str:
    """Return `` (and 4 more)`` for five layers of which the first is named, nothing for one."""
    return f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""


def layer_and_class(label: str, kind: str | None, num_features: int | None) -> str:
    """Return a layer as ``head.2 (BatchNorm1d(128))``; a functional call has the name of its function."""
    size = f"({num_features})" if num_features else ""
    return f"{label} (F.batch_norm)" if kind == "functional" else f"{label} ({kind}{size})"
