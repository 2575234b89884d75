"""The graph of a backward: which of its nodes is where, and what was saved for it."""

from __future__ import annotations

from typing import Any

import torch


def in_backward() -> bool:
    """Whether this runs within a backward, as the forward that activation checkpointing repeats does."""
    task = getattr(torch._C, "_current_graph_task_id", None)
    return callable(task) and task() != -1


def order_in_backward(node: Any) -> int:  # noqa: ANN401 - autograd nodes have no public type before 2.5
    """Return the number by which the engine orders this node: the largest runs first."""
    number = getattr(node, "_sequence_nr", None)
    return int(number()) if callable(number) else -1


def saved_state(node: Any) -> str | None:  # noqa: ANN401 - see above
    """Say whether a node still has what it saved for its backward, without unpacking it.

    Reading a saved tensor would run the hooks of activation checkpointing, and so the user's forward.
    ``register_hooks`` looks first: it refuses a tensor that was freed, and one that has hooks.

    Returns:
        ``freed`` (the node has run), ``hooked`` or ``there`` (it has not), or None where it saved nothing.

    """
    for name in dir(node):
        if not name.startswith("_raw_saved_"):
            continue
        try:
            saved = getattr(node, name)
            for one in saved if isinstance(saved, (tuple, list)) else [saved]:
                one.register_hooks(_same, _same)
                return "there"
        except (RuntimeError, AttributeError, TypeError) as error:
            refusal = str(error)
            if "freed" in refusal or "second time" in refusal:
                return "freed"
            if "already been set" in refusal:
                return "hooked"
    return None


def _same(value: Any) -> Any:  # noqa: ANN401 - whatever was saved
    return value


def saved_value(node: Any, name: str) -> Any:  # noqa: ANN401 - see above; a tensor or a number
    """Return what a node saved under this name, or None."""
    try:
        return getattr(node, f"_saved_{name}", None)
    except RuntimeError:
        return None
