from __future__ import annotations

from pathlib import Path

import pytest
from sandbox.trees import WAYS


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A working folder, with something beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder in which the script and the test write in earnest."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder
