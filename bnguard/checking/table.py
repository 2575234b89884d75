"""One table of a configuration, read against the keys it may have; every error names file, dotted key and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnguard.checking.keys import Kind
from bnguard.errors import ConfigError, did_you_mean


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
