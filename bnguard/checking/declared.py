"""What a configuration declares, as plain frozen data without torch: models, loaders, scripts and the bar to pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnguard.facts import Mode


@dataclass(frozen=True)
class ModelEntry:
    """One model.

    Attributes:
        name: in the report.
        target: that names or builds it.
        inputs: texts such as ``3,224,224``; empty where the loaders or the model are to say.
        batch_size: at which it is scanned, where no loader feeds it.
        mode: in which it is scanned then.
        keep_modes: leave every module's training flag as it is for training loaders.
        device: whose batch_norm backend to predict.
        settings: constructor arguments; a table within is one namespace.
        stubs: packages to stand in for.
        args: ``sys.argv[1:]`` of the target's file.

    """

    name: str
    target: str
    inputs: tuple[str, ...] = ()
    batch_size: int = 1
    mode: Mode = "train"
    keep_modes: bool = False
    device: str = "cuda"
    settings: Mapping[str, Any] = field(default_factory=dict)
    stubs: tuple[str, ...] = ()
    args: tuple[str, ...] = ()

    @property
    def entry(self) -> str:
        """Where it stands in the configuration."""
        return f"models.{self.name}"


@dataclass(frozen=True)
class LoaderEntry:
    """One loader, by numbers or live.

    Attributes:
        name: in the report; the parts of a split follow it after a dot.
        feeds: names of models.
        target: that names or makes the live loader; None for numbers.
        options: keywords of ``bnguard.audit_loader``.
        stubs: packages to stand in for.
        args: ``sys.argv[1:]`` of the target's file.

    """

    name: str
    feeds: tuple[str, ...] = ()
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stubs: tuple[str, ...] = ()
    args: tuple[str, ...] = ()

    @property
    def entry(self) -> str:
        """Where it stands in the configuration."""
        return f"loaders.{self.name}"


@dataclass(frozen=True)
class ScriptEntry:
    """One training script, or with ``module`` a module's name, to be run with one batch of every kind."""

    name: str
    program: str
    module: bool = False
    args: tuple[str, ...] = ()
    budget: float = 30.0
    timeout: float = 600.0
    allow_unknown: bool = False

    @property
    def entry(self) -> str:
        """Where it stands in the configuration."""
        return f"scripts.{self.name}"


@dataclass(frozen=True)
class Declared:
    """All that one file declares.

    Attributes:
        file: which file; paths in it are relative to its folder.
        place: its name and the dotted prefix of its keys, for messages.
        models: in their order.
        loaders: in their order.
        scripts: in their order.
        select: prefixes of codes to report; empty for all.
        ignore: prefixes of codes to leave out.
        fail_on: ``error``, ``warning`` or ``never``.

    """

    file: Path
    place: str
    models: tuple[ModelEntry, ...] = ()
    loaders: tuple[LoaderEntry, ...] = ()
    scripts: tuple[ScriptEntry, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str = "error"

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self.file.parent

    def place_of(self, entry: str) -> str:
        """Return where an entry stands, as messages say it: ``pyproject.toml: tool.bnguard.models.net``."""
        return f"{self.place}{'' if self.place.endswith(': ') else '.'}{entry}"
