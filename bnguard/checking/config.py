"""From TOML to declarations: every table read against its keys, and what belongs together tied together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from bnguard.checking import keys
from bnguard.checking.declared import Declared, LoaderEntry, ModelEntry, ScriptEntry
from bnguard.checking.locate import find, section
from bnguard.checking.table import Table
from bnguard.errors import UsageError


def declared(config: str | Path | None = None) -> Declared:
    """Return what a configuration declares.

    Args:
        config: the file; None looks for it from the working folder upward.

    Raises:
        ConfigError: there is none, or it holds what means nothing; the message names file and key.

    """
    file = Path(config).expanduser().absolute() if config is not None else find(Path.cwd())
    table = section(file)
    top = table.read(keys.TOP)
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
    return Declared(file, table.place, models, loaders, scripts, select, ignore, fail_on=top.get("fail-on", "error"))


def _header(table: Table) -> str:
    return table.at("").partition(": ")[2]


def _model(name: str, table: Table) -> ModelEntry:
    values = _read(table, keys.MODEL, "target")
    if "target" not in values:
        raise table.wrong(" has no target", 'say which model it is: target = "model.py:Net"')
    names = {"input": "inputs", "set": "settings", "stub": "stubs"}
    given = {names.get(k, k.replace("-", "_")): v for k, v in values.items()}
    if given.get("batch_size", 1) < 1:
        raise table.wrong(" must be at least 1", key="batch-size")
    return ModelEntry(name, **given)


def _loader(name: str, table: Table, models: list[str]) -> LoaderEntry:
    values = _read(table, keys.LOADER, "target")
    _numbers_or_live(table, values)
    feeds = _feeds(table, values.pop("feeds", None), models)
    target = values.pop("target", None)
    stubs, args = values.pop("stub", ()), values.pop("args", ())
    names = {"eval": "eval_names"}
    options = {names.get(k, k.replace("-", "_")): v for k, v in values.items()}
    return LoaderEntry(name, feeds, target, options, stubs, args)


def _numbers_or_live(table: Table, values: Collection[str]) -> None:
    """Raise ConfigError unless a loader is given by a target or by numbers, and only by one of them."""
    if "target" in values:
        wrong = next((key for key in keys.FOR_NUMBERS if key in values), None)
        if wrong is not None:
            raise table.wrong(" means nothing beside a target", "the loader itself knows it; leave one out", key=wrong)
        return
    wrong = next((key for key in keys.FOR_LIVE if key in values), None)
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
    values = _read(table, keys.SCRIPT, "script")
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
    )


def _read(table: Table, known: dict[str, keys.Kind], main: str) -> dict[str, Any]:
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
    codes = tuple(part.strip().upper() for value in values for part in value.split(",") if part.strip())
    if codes:
        from bnguard.rules import CATALOGUE

        try:
            CATALOGUE.require_prefixes(codes)
        except UsageError as error:
            raise table.wrong(f": {error.message}", error.hint, key=key) from error
    return codes
