"""``bnguard check --init``: a commented configuration from what the source of a folder holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bnguard.checking.locate import OWN_FILE, PROJECT_FILE, parse, section_of
from bnguard.checking.sources import Found, FoundLoader, FoundModel, look_through
from bnguard.errors import ConfigError
from bnguard.wholefile import write_whole

MOST_ENTRIES = 20
"""Models, loaders and scripts are written up to this many of each: more are hardly what is trained."""

_GUESSED_SIZE, _FULL_BATCHES = 32, 100
"""A number of samples that nobody gave leaves a tail of one: a check that is not filled in must not look green."""


def write_configuration(folder: Path) -> str:
    """Write ``[tool.bnguard]`` at the end of pyproject.toml, or a new bnguard.toml; return one line that says so.

    Raises:
        ConfigError: there is a configuration already, nothing to write, or no way to write it.

    """
    project = folder / PROJECT_FILE
    if (folder / OWN_FILE).exists():
        raise ConfigError(
            f"{OWN_FILE} is there already", hint="`bnguard check` goes by it; edit it, or remove it first"
        )
    if project.exists() and section_of(parse(project)) is not None:
        raise ConfigError(
            f"{PROJECT_FILE} has a [tool.bnguard] already",
            hint="`bnguard check` goes by it; edit it, or remove it first",
        )
    found = look_through(folder)
    if not (found.models or found.loaders):
        raise ConfigError(
            f"no model class and no DataLoader call in the Python files of {folder}",
            hint='declare a model by hand: [tool.bnguard.models.net] with target = "package.module:Net"',
        )
    file = project if project.exists() else folder / OWN_FILE
    prefix = "tool.bnguard." if file == project else ""
    _write(file, "\n".join(_section(found, prefix)))
    counts = [(len(found.models), "model"), (len(found.loaders), "loader"), (len(found.scripts), "script")]
    what = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts if n)
    return f"{file.name}: written from {what}; look at each TODO, then run `bnguard check`"


def _write(file: Path, section: str) -> None:
    file = file.resolve()  # a link stays a link
    before = ""
    if file.exists():
        with file.open(encoding="utf-8", newline="") as stream:
            before = stream.read()
        before += "" if before.endswith("\n") or not before else "\n"
        before += "\n" if before else ""
    if "\r\n" in before:
        before, section = before.replace("\r\n", "\n").replace("\n", "\r\n"), section.replace("\n", "\r\n")
    try:
        write_whole(file, (before + section).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}", hint="is the folder read-only?") from error


def _section(found: Found, prefix: str) -> Iterator[str]:
    yield "# What `bnguard check` looks at before training starts. Every key: docs/reference/configuration.md"
    if prefix:
        yield f"[{prefix.removesuffix('.')}]"
    yield 'fail-on = "error"  # or "warning", or "never"'
    models = _named([(_key(m.cls.lower()), m) for m in found.models[:MOST_ENTRIES]])
    built = {name: model for name, model in models.items() if not model.needs}
    for name, model in models.items():
        yield ""
        yield from _model(f"{prefix}models.{name}", model)
    loaders = list(dict.fromkeys((_key(x.name), x) for x in found.loaders))[:MOST_ENTRIES]
    for name, loader in _named(loaders).items():
        yield ""
        yield from _loader(f"{prefix}loaders.{name}", loader, built)
    if found.scripts:
        yield ""
        yield "# Instead of numbers: run a script, with one batch of every kind that its loaders give."
    for name, script in _named([(_key(Path(s).stem), s) for s in found.scripts[:MOST_ENTRIES]]).items():
        yield f"# [{prefix}scripts.{name}]"
        yield f"# script = {_text(script)}"
        yield "# args = []"
    yield ""


def _model(header: str, model: FoundModel) -> Iterator[str]:
    off = "# " if model.needs else ""
    yield f"{off}[{header}]  # line {model.line}"
    yield f"{off}target = {_text(f'{model.file}:{model.cls}')}"
    if model.needs:
        yield f"# set = {{ {', '.join(f'{name} = 0' for name in model.needs)} }}  # TODO: it cannot be built without"
    yield '# input = "3,224,224"  # TODO: one sample, without the batch dimension; guessed where it is not given'


def _loader(header: str, loader: FoundLoader, models: dict[str, FoundModel]) -> Iterator[str]:
    size = loader.batch_size or _GUESSED_SIZE
    yield f"[{header}]  # {loader.file}, line {loader.line}"
    yield f"n = {size * _FULL_BATCHES + 1}  # TODO: how many samples the dataset has; until then one is left over"
    told = "" if loader.batch_size else f"  # TODO: what is {' '.join(loader.said.split())}?"
    yield f"batch-size = {size}{told}"
    if loader.drop_last:
        yield "drop-last = true"
    if len(models) > 1:
        used = [name for name, model in models.items() if model.cls in loader.mentions]
        feeds = used or list(models)
        yield f"feeds = [{', '.join(map(_text, feeds))}]  # TODO: which models it feeds"


T = TypeVar("T")


def _named(items: Sequence[tuple[str, T]]) -> dict[str, T]:
    """Return the items under their names; a name that is taken gets a number."""
    found: dict[str, T] = {}
    for name, item in items:
        free = next(n for i in range(1, len(items) + 2) if (n := name if i == 1 else f"{name}-{i}") not in found)
        found[free] = item
    return found


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "entry"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
