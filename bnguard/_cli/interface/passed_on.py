"""Options of ours that stand behind a script, and so are given to it."""

from __future__ import annotations

import shlex
import sys
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def tell_of_own_options(ctx: Any, program: Sequence[str], *, is_module: bool) -> None:  # noqa: ANN401 - click's context
    """Say in a line on stderr that options of this command were given to the script, and where they are to stand.

    The script gets them whatever is said here. Nothing is said of options that its file mentions: they are its own.
    """
    name, *arguments = program
    if arguments[:1] == ["--"]:  # whoever writes it knows whose the rest is
        return
    own = "" if is_module else _text_of(Path(name))
    moved = [words for words in _ours(ctx, arguments) if words[0].partition("=")[0] not in own]
    if not moved:
        return
    behind = list(arguments)
    for word in (word for words in moved for word in words):
        behind.remove(word)
    module = ["-m"] if is_module else []
    meant = [*ctx.command_path.split(), *(word for words in moved for word in words), *module, name, *behind]
    options = ", ".join(words[0].partition("=")[0] for words in moved)
    print(f"bnguard: {options} behind {name} goes to it; for bnguard: {shlex.join(meant)}", file=sys.stderr)


def _ours(ctx: Any, arguments: Sequence[str]) -> Iterator[list[str]]:  # noqa: ANN401
    """Yield each long option of this command among the arguments, with its value."""
    known = {name: param for param in ctx.command.params for name in param.opts if name.startswith("--")}
    for word, following in zip_longest(arguments, arguments[1:]):
        param = known.get(word.partition("=")[0])
        if param is not None:
            takes_next = not param.is_flag and "=" not in word and following is not None
            yield [word, *([following] if takes_next else [])]


def _text_of(file: Path) -> str:
    """Return what stands in the script, '' where it cannot be read: that it is not there is said by who runs it."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""
