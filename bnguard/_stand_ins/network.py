"""Telling an error that comes from the network from all others, and letting a download fail soon."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.error import URLError

from bnguard._errors import UserCodeError
from bnguard._usercode import one_line, user_traceback

SECONDS = 10.0
"""A server that says nothing for so long does not answer: the system itself would wait for minutes."""

_FAILURES = (URLError, HTTPException, socket.gaierror, ConnectionError, TimeoutError)
_CLIENTS = ("requests", "urllib3", "httpx", "httpcore", "aiohttp", "huggingface_hub")
"""Packages whose errors, as far as they are errors of input and output, come from the network."""


def is_download_failure(error: BaseException | None) -> bool:
    """Say whether an error, or the one it was raised from, means that something could not be downloaded."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, _FAILURES) or _of_client(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _of_client(error: BaseException) -> bool:
    package = type(error).__module__.partition(".")[0]
    return package in _CLIENTS and isinstance(error, Exception) and not isinstance(error, (TypeError, ValueError))


@contextmanager
def soon() -> Iterator[None]:
    """Within the block a server that does not answer is given up after a few seconds, unless the caller says more."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS if before is None else min(before, SECONDS))
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def needs_network(error: BaseException, who: str) -> UserCodeError:
    """Return the error for user's code that could not download what it needs."""
    return UserCodeError(
        f"{who} needs the network, and could not reach it: {one_line(error)}",
        hint="put what it downloads where it looks for it first, or run this where there is a network",
        detail=user_traceback(error),
    )
