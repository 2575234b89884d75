"""Text that a page can hold: what HTML or UTF-8 forbid, and what turns other words around, is shown and not obeyed."""

from __future__ import annotations

import re
from typing import Any

_NOT_TEXT = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: parse errors, or white space that would vanish
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u202a-\u202e\u2066-\u2069"  # embeddings and overrides of direction; plain marks may stay
    "\ud800-\udfff"  # lone surrogates: no encoding has them
    "\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


def visible(value: Any) -> Any:  # noqa: ANN401 - whatever a template prints
    """Return a text in which every character may stand in a page; other values, and markup, as they are.

    C0 controls become their pictures (a newline is a sign for one), everything else an escape as Python writes it.
    """
    if type(value) is str and not value.isprintable():
        return _NOT_TEXT.sub(_shown, value)
    return value


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
