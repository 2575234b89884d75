"""The time that a report was made at, taken in one place."""

from __future__ import annotations

import os
from datetime import datetime, timezone


def now() -> datetime:
    """Return the time in UTC; ``SOURCE_DATE_EPOCH`` fixes it, as it does for other tools that make files."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(fixed), timezone.utc) if fixed.isdecimal() else datetime.now(timezone.utc)
