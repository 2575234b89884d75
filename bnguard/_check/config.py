"""From TOML to declarations: the file found, every table read against its keys, models and loaders joined."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bnguard._check import declarations
from bnguard._check.declarations import Declared, Kind, LoaderEntry, ModelEntry, ScriptEntry
from bnguard._errors import ConfigError, UsageError, did_you_mean


def read_declarations(config: str | Path | None = None) -> Declared:
    """Return what a configuration declares.

    Args:
        config: the file; None looks for it from the working folder upward.

    Raises:
        ConfigError: there is none, or it holds what means nothing; the message names file and key.

    """
    file = Path(config).expanduser().absolute() if config is not None else find(Path.cwd())
    table = section(file)
    top = table.read(declarations.TOP)
    inner = {name: Table(table.at(name), top.get(name, {})) for name in ("models", "loaders", "scripts")}
    models = tuple(_model(name, one) for name, one in inner["models"].inner())
    loaders = tuple(_loader(name, one, [m.name for m in models]) for name, one in inner["loaders"].inner())
    scripts = tuple(_script(name, one) for name, one in inner["scripts"].inner())
    if not (models or loaders or scripts):
        raise table.wrong(
            " declares no model, no loader and no script", f"for example [{_header(table)}models.net] with a target"
        )
    _no_size_of_its_own(inner["models"], {fed for loader in loaders for fed in loader.feeds})
    select, ignore = (_codes(table, name, top.get(name, ())) for name in ("select", "ignore"))
    fail_on, cuda = top.get("fail-on", "error"), top.get("cuda-stand-in", True)
    return Declared(file, table.place, models, loaders, scripts, select, ignore, fail_on, cuda)


def _header(table: Table) -> str:
    return table.at("").partition(": ")[2]


def _model(name: str, table: Table) -> ModelEntry:
    values = _read(table, declarations.MODEL, "target")
    if "target" not in values:
        raise table.wrong(" has no target", 'say which model it is: target = "model.py:Net"')
    names = {"input": "inputs", "set": "settings", "stub": "stubs"}
    given = {names.get(k, k.replace("-", "_")): v for k, v in values.items()}
    if given.get("batch_size", 1) < 1:
        raise table.wrong(" must be at least 1", key="batch-size")
    return ModelEntry(name, **given)


def _loader(name: str, table: Table, models: list[str]) -> LoaderEntry:
    values = _read(table, declarations.LOADER, "target")
    _numbers_or_live(table, values)
    feeds = _feeds(table, values.pop("feeds", None), models)
    target = values.pop("target", None)
    stubs, args, fake = values.pop("stub", ()), values.pop("args", ()), values.pop("fake-data", None)
    names = {"eval": "eval_names"}
    options = {names.get(k, k.replace("-", "_")): v for k, v in values.items()}
    return LoaderEntry(name, feeds, target, options, stubs, args, fake)


def _numbers_or_live(table: Table, values: Collection[str]) -> None:
    """Raise ConfigError unless a loader is given by a target or by numbers, and only by one of them."""
    if "target" in values:
        wrong = next((key for key in declarations.FOR_NUMBERS if key in values), None)
        if wrong is not None:
            raise table.wrong(" means nothing beside a target", "the loader itself knows it; leave one out", key=wrong)
        return
    wrong = next((key for key in declarations.FOR_LIVE if key in values), None)
    if wrong is not None:
        raise table.wrong(" means nothing without a target", 'for example target = "train.py:loader"', key=wrong)
    missing = [key for key in ("n", "batch-size") if key not in values]
    if missing:
        raise table.wrong(
            f" has no {' and no '.join(missing)}", 'give n and batch-size, or a loader: target = "train.py:loader"'
        )


def _feeds(table: Table, given: tuple[str, ...] | None, models: list[str]) -> tuple[str, ...]:
    if given is None:
        if len(models) > 1:
            raise table.wrong(
                f" does not say which of {len(models)} models it feeds",
                f'feeds = "{models[0]}", a list for several, or [] for none',
            )
        return tuple(models)
    for name in given:
        if name not in models:
            known = f"the models are {', '.join(models)}" if models else "no model is declared"
            raise table.wrong(f' names "{name}", which is no model here', known, key="feeds")
    return tuple(dict.fromkeys(given))


def _script(name: str, table: Table) -> ScriptEntry:
    values = _read(table, declarations.SCRIPT, "script")
    if ("script" in values) == ("module" in values):
        raise table.wrong(
            " needs a script or a module, and one of them alone", 'script = "train.py", or module = "package.train"'
        )
    if values.get("timeout", 1) <= 0:
        raise table.wrong(" must be above 0 seconds", key="timeout")
    module = "module" in values
    program = values["module" if module else "script"]
    return ScriptEntry(
        name,
        program,
        module,
        values.get("args", ()),
        values.get("budget", 30.0),
        values.get("timeout", 600.0),
        values.get("allow-unknown", False),
        values.get("stub", ()),
        values.get("fake-data"),
    )


def _read(table: Table, known: dict[str, declarations.Kind], main: str) -> dict[str, Any]:
    """Read an entry; one that is a text alone says its main key."""
    if "" in table.values:
        table = Table(table.place, {main: table.values[""]})
    return table.read(known)


def _no_size_of_its_own(models: Table, fed: Collection[str]) -> None:
    """Raise ConfigError where a model that loaders feed says at which size or in which mode it is to be scanned."""
    for name, table in models.inner():
        wrong = next((key for key in ("batch-size", "mode") if key in table.values), None)
        if name in fed and wrong is not None:
            raise table.wrong(
                " means nothing where a loader feeds the model", "say it at the loader, or leave it out", key=wrong
            )


def _codes(table: Table, key: str, values: Iterable[str]) -> tuple[str, ...]:
    from bnguard._rules import CATALOGUE

    try:
        return CATALOGUE.prefixes(values)
    except UsageError as error:
        raise table.wrong(f": {error.message}", error.hint, key=key) from error


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
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        document: dict[str, Any] = toml.loads(text)
    except ValueError as error:
        raise _no_toml(file, text, str(error)) from error
    return document


def _no_toml(file: Path, text: str, message: str) -> ConfigError:
    """Word a syntax error: ``pyproject.toml, line 3: …``."""
    at = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = at[1] if at and at[1] else str(max(1, text.rstrip("\n").count("\n") + 1))
    problem = message[: at.start()] if at else message
    return ConfigError(f"{file.name}, line {line}: {problem[:1].lower()}{problem[1:]}", hint="mend the TOML there")


def _beside(file: Path) -> str:
    if file.is_dir():
        return f"name a file in it: {file / OWN_FILE}"
    here = sorted(p.name for p in file.parent.glob("*.toml")) if file.parent.is_dir() else []
    return f"in that folder: {', '.join(here)}" if here else "`bnguard check --init` writes a configuration"


class Table:
    """A table, and where it stands.

    Args:
        place: the file's name, a colon, and the dotted key: ``pyproject.toml: tool.bnguard.models.net``.
        values: as parsed.

    """

    def __init__(self, place: str, values: Mapping[str, Any]) -> None:
        self.place = place
        self.values = values

    def at(self, key: str) -> str:
        """Return the place of a key."""
        return f"{self.place}.{key}" if not self.place.endswith(": ") else f"{self.place}{key}"

    def wrong(self, message: str, hint: str | None = None, key: str | None = None) -> ConfigError:
        """Return the error about this table or one of its keys; the message follows their place."""
        where = self.at(key) if key is not None else self.place.removesuffix(": ")
        return ConfigError(f"{where}{message}", hint=hint)

    def read(self, keys: Mapping[str, Kind]) -> dict[str, Any]:
        """Return the values under their keys, each as its kind reads it.

        Raises:
            ConfigError: a key is not known, or holds something else.

        """
        for key in self.values:
            if key not in keys:
                raise self._unknown(key, keys)
        return {key: self._value(key, keys[key]) for key in self.values}

    def inner(self) -> list[tuple[str, Table]]:
        """Return the tables within, by name; a text stands for a table that is not written out.

        Raises:
            ConfigError: a name with a dot, or something that is neither.

        """
        found = []
        for name, value in self.values.items():
            if not name.strip() or "." in name:
                raise self.wrong(" is no name for an entry", "choose a name without a dot", key=f'"{name}"')
            if not isinstance(value, (dict, str)):
                raise self.wrong(f" is {_shown(value)}; a table is wanted", f'or a text: {name} = "…"', key=name)
            found.append((name, Table(self.at(name), value if isinstance(value, dict) else {"": value})))
        return found

    def _value(self, key: str, kind: Kind) -> Any:  # noqa: ANN401 - whatever its kind is
        try:
            return kind.read(self.values[key])
        except ValueError:
            raise self.wrong(f" is {_shown(self.values[key])}; {kind.words} is wanted", key=key) from None

    def _unknown(self, key: str, keys: Mapping[str, Kind]) -> ConfigError:
        meant = did_you_mean(key, keys)
        if meant:
            return self.wrong(f" is not known; {meant}", key=key)
        return self.wrong(" is not known", f"the keys here are {', '.join(keys)}", key=key)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'the text "{value}"' if len(value) < 40 else "a text"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return f"a {type(value).__name__}"
