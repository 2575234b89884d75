from __future__ import annotations

import shutil
import tempfile
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


@pytest.fixture(autouse=True)
def _nothing_set_aside_stays(cwd: Path):
    """Remove what sandboxes of a test have moved out of the way."""
    places = [Path("/var/tmp"), Path(tempfile.gettempdir())]
    before = {path for place in places for path in place.glob("bnguard-*")}
    yield
    for path in {path for place in places for path in place.glob("bnguard-set-aside-*")} - before:
        shutil.rmtree(path)
