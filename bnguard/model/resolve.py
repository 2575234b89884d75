"""From a target's text to models built for a scan: without weights, with every line of creation recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bnguard.model.attempt import attempt
from bnguard.model.named import Built, build_named
from bnguard.model.roots import build_roots
from bnguard.target import Target, environment, import_module
from bnguard.untouched import quiet


@contextmanager
def models_of(
    target: Target,
    *,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    stubs: Sequence[str] = (),
) -> Iterator[list[Built]]:
    """Build every model the target names; the user's import paths stay in place within the block.

    Args:
        target: a file, a file and an expression, or a module and an expression.
        settings: constructor arguments by name (``--set``).
        argv: becomes ``sys.argv[1:]`` of the user's file.
        stubs: packages to replace by stand-ins.

    Raises:
        BnguardError: nothing can be built; the message says what is missing.

    """
    with environment(target, argv=argv, stubs=stubs), quiet():
        module, construction = attempt(lambda: import_module(target), target)
        if target.expression is not None:
            yield [build_named(target, module, construction, settings or {})]
        else:
            yield build_roots(target, module, construction, settings or {})
