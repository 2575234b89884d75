"""How a script is stopped: an exception that ``except Exception`` does not swallow."""

from __future__ import annotations


class Stop(BaseException):
    """The first training step is done; what the script does on its way out still runs."""

    def __init__(self) -> None:
        super().__init__("bnguard preflight has seen the first training step and stops here; let this exception pass")


MOST_REFUSALS = 5
"""A script that swallows the stop is stopped again whenever it goes on, this often, and then its process ends."""
