from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from bnguard._sandbox import box
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


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch):
    """A place of the test's own for what sandboxes put aside, on the same disk as ever."""
    usual = box._place(Path(tempfile.gettempdir()))
    place = tempfile.mkdtemp(prefix="bnguard-tests-", dir=usual)
    monkeypatch.setattr(box, "_place", lambda cwd: place)
    yield
    shutil.rmtree(place)
