"""A source text → what is proposed for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bnguard._fix import Proposal, propose

Proposes = Callable[..., Proposal]


@pytest.fixture
def proposed(tmp_path: Path) -> Proposes:
    def proposes(text: str | bytes, **said: list[str]) -> Proposal:
        path = tmp_path / "train.py"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return propose(path, **said)

    return proposes
