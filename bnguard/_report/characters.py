"""Characters that would do something in the place of being read: made visible, or left out where a format has none."""

from __future__ import annotations

import re

# compiled by the first search: that takes as long as importing some modules, and most reports need none of them
_ACTING = (
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(0x11))
    + "]"
)
"""Controls, line breaks, marks that turn the direction of writing, halves of characters, and what is no character."""

_NOT_UNICODE = r"[\ud800-\udfff]"
_NOT_XML = r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_REPLACEMENT = "\ufffd"
"""Unicode's own sign for what could not be shown."""


def acts(text: str) -> bool:
    """Say whether the text holds a character that would move, colour or break a line."""
    return not text.isprintable() and re.search(_ACTING, text) is not None


def visible(text: str) -> str:
    r"""Return the text on one line, with every acting character written as Python would: ``\n``, ``\x1b``."""
    return text if text.isprintable() else re.sub(_ACTING, _escaped, text)


def unicode_text(text: str) -> str:
    """Return the text without lone surrogates, which no encoding can hold."""
    return text if text.isprintable() else re.sub(_NOT_UNICODE, _REPLACEMENT, text)


def xml_text(text: str) -> str:
    """Return the text with what XML 1.0 forbids, even as a reference, replaced."""
    return text if text.isprintable() else re.sub(_NOT_XML, _REPLACEMENT, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
