"""Which format goes where."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnguard._errors import UsageError
from bnguard._report.render import Destination, destinations


@pytest.mark.parametrize(
    ("formats", "outputs", "expected"),
    [
        ([], [], [("console", None)]),
        (["json"], [], [("json", None)]),
        (["json"], ["x.txt"], [("json", "x.txt")]),
        ([], ["x.sarif"], [("sarif", "x.sarif")]),
        ([], ["x.xml"], [("junit", "x.xml")]),
        ([], ["x.HTML"], [("html", "x.HTML")]),
        ([], ["x.json"], [("json", "x.json")]),
        ([], ["x.md"], [("summary", "x.md")]),
        ([], ["x.txt"], [("console", "x.txt")]),
        ([], ["x"], [("console", "x")]),
        ([], ["a.sarif", "b.xml"], [("sarif", "a.sarif"), ("junit", "b.xml")]),
        (["sarif", "html"], ["a.sarif", "b.html"], [("sarif", "a.sarif"), ("html", "b.html")]),
        (["sarif", "console"], ["a.sarif"], [("sarif", "a.sarif"), ("console", None)]),
        (["sarif"], ["a.sarif", "b.xml"], [("sarif", "a.sarif"), ("junit", "b.xml")]),
        (["console", "sarif"], ["-", "a.sarif"], [("console", None), ("sarif", "a.sarif")]),
        (["json"], ["report.sarif"], [("json", "report.sarif")]),
    ],
)
def test_pairs(formats: list[str], outputs: list[str], expected: list[tuple[str, str | None]]) -> None:
    made = destinations(formats, [Path(x) for x in outputs])
    assert made == tuple(Destination(fmt, Path(file) if file else None) for fmt, file in expected)


@pytest.mark.parametrize(
    ("formats", "outputs", "words"),
    [
        (["yaml"], [], "'yaml' is not known"),
        (["json", "sarif"], [], "json and sarif would both go to stdout"),
        (["json", "sarif"], ["-"], "json and sarif would both go to stdout"),
        (["json", "sarif"], ["x", "./x"], "two reports would go to x"),
        (["console", "sarif"], ["a.sarif"], "a.sarif would get the console report, and sarif would go to stdout"),
    ],
)
def test_what_would_be_lost_is_refused(formats: list[str], outputs: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        destinations(formats, [Path(x) for x in outputs])
