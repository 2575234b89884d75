"""A place is named from the root of the repository, and means the same on every machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bnguard._facts.findings import Finding, Severity
from bnguard._facts.models import SourceLine
from bnguard._report.places import FileLocation, Places


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("train/net.py", "shared.py", ".venv/lib/python3/site-packages/timm/net.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def finding(file: str, line: int = 3, model: str | None = None) -> Finding:
    return Finding("BN101", Severity.ERROR, "…", model=model, layer_line=SourceLine(file, line))


def test_paths_start_at_the_root_wherever_one_stands(repository: Path) -> None:
    assert Places(repository / "train").within("net.py") == "train/net.py"
    assert Places(repository / "train").within("../shared.py") == "shared.py"
    assert Places(repository).within(str(repository / "train/net.py")) == "train/net.py"


def test_a_file_may_be_named_from_a_folder_above(repository: Path) -> None:
    """As `bnguard check` does, which names files from the folder of the configuration."""
    deep = repository / "train/deeper"
    deep.mkdir()
    assert Places(deep).within("train/net.py") == "train/net.py"
    assert Places(deep).within("shared.py") == "shared.py"
    assert Places(deep).within("new.py") == "train/deeper/new.py"
    assert Places(deep).named_from_root("train/net.py:Net") == "train/net.py:Net"


def test_without_a_repository_the_working_folder_is_the_root(tmp_path: Path) -> None:
    assert Places(tmp_path).within("a/net.py") == "a/net.py"
    assert Places(tmp_path / "a").within("../net.py") is None


def test_a_worktree_has_a_file_for_its_git_folder(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    (tmp_path / "a").mkdir()
    assert Places(tmp_path / "a").within("net.py") == "a/net.py"


def test_a_link_into_the_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(repository / "train")
    assert Places(repository).within(str(link / "net.py")) == "train/net.py"


@pytest.mark.parametrize("file", ["/usr/lib/python3.11/abc.py", "<stdin>", "", "a\0b", "../../outside.py"])
def test_what_is_outside_has_no_place(repository: Path, file: str) -> None:
    assert Places(repository).within(file) is None


def test_installed_packages_are_outside_even_inside(repository: Path) -> None:
    assert Places(repository).within(".venv/lib/python3/site-packages/timm/net.py") is None


def test_a_finding_in_a_package_is_shown_at_its_target_then_at_the_configuration(repository: Path) -> None:
    places = Places(repository)
    package = ".venv/lib/python3/site-packages/timm/net.py"
    assert places.of_finding(finding("train/net.py")) == FileLocation("train/net.py", 3)
    assert places.of_finding(finding(package, model="train/net.py:Net(3)")) == FileLocation("train/net.py")
    assert places.of_finding(finding(package, model="train/net.py")) == FileLocation("train/net.py")
    assert places.of_finding(finding(package, model="timm.models:net")) is None
    (repository / "pyproject.toml").touch()
    assert places.of_finding(finding(package, model="timm.models:net")) == FileLocation("pyproject.toml")
    assert places.of_finding(finding(package, model="timm.models:net"), declared=False) is None
    assert places.of_finding(finding("train/net.py", 0)) == FileLocation("train/net.py", 1)


def test_targets_are_alike_from_every_folder(repository: Path) -> None:
    assert Places(repository / "train").named_from_root("net.py:Net()") == "train/net.py:Net()"
    assert Places(repository).named_from_root("train/net.py:Net()") == "train/net.py:Net()"
    assert Places(repository).named_from_root("torchvision.models:vgg") == "torchvision.models:vgg"
