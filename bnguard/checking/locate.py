"""Finding the configuration and reading it as TOML: ``bnguard.toml``, or ``[tool.bnguard]`` in ``pyproject.toml``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bnguard.checking.table import Table
from bnguard.errors import ConfigError

OWN_FILE = "bnguard.toml"
PROJECT_FILE = "pyproject.toml"


def find(folder: Path) -> Path:
    """Return the nearest file, from the folder upward, that holds a configuration.

    Raises:
        ConfigError: there is none, or a ``pyproject.toml`` on the way cannot be read.

    """
    for place in (folder, *folder.parents):
        if (place / OWN_FILE).is_file():
            return place / OWN_FILE
        project = place / PROJECT_FILE
        if project.is_file() and section_of(parse(project)) is not None:
            return project
    raise ConfigError(
        f"no {OWN_FILE}, and no [tool.bnguard] in a {PROJECT_FILE}, in {folder} or above",
        hint="`bnguard check --init` writes one from what it finds here",
    )


def section(file: Path) -> Table:
    """Return what a file declares: its table ``tool.bnguard``, else (in any other than pyproject.toml) all of it.

    Raises:
        ConfigError: the file is not there, is no TOML, or has no such table.

    """
    document = parse(file)
    found = section_of(document)
    if found is not None:
        if not isinstance(found, dict):
            raise ConfigError(f"{file.name}: tool.bnguard is no table", hint="write it as [tool.bnguard]")
        return Table(f"{file.name}: tool.bnguard", found)
    if file.name == PROJECT_FILE:
        raise ConfigError(
            f"{file.name} has no [tool.bnguard]", hint="`bnguard check --init` writes one from what it finds here"
        )
    return Table(f"{file.name}: ", document)


def section_of(document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever stands there
    """Return what stands at ``tool.bnguard``, or None."""
    tool = document.get("tool")
    return tool.get("bnguard") if isinstance(tool, dict) else None


def parse(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, or is no TOML; the message names the line.

    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}", hint=_beside(file)) from error
    loads, wrong = _reader()
    try:
        return loads(text)
    except wrong as error:
        raise _no_toml(file, text, str(error)) from error


def _reader() -> tuple[Callable[[str], dict[str, Any]], type[ValueError]]:
    """Return the function that reads TOML, and the error it raises."""
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"reading TOML needs the package {name} on this Python", hint=f"pip install {name}"
        ) from error
    return module.loads, module.TOMLDecodeError


def _no_toml(file: Path, text: str, message: str) -> ConfigError:
    """Word a syntax error: ``pyproject.toml, line 3: …``."""
    at = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = at[1] if at and at[1] else str(max(1, text.rstrip("\n").count("\n") + 1))
    said = message[: at.start()] if at else message
    return ConfigError(f"{file.name}, line {line}: {said[:1].lower()}{said[1:]}", hint="mend the TOML there")


def _beside(file: Path) -> str:
    if file.is_dir():
        return f"name a file in it: {file / OWN_FILE}"
    here = sorted(p.name for p in file.parent.glob("*.toml")) if file.parent.is_dir() else []
    return f"in that folder: {', '.join(here)}" if here else "`bnguard check --init` writes a configuration"
