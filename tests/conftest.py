"""Shared by all tests: golden files with one overwrite switch, and how the suite is to run."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

with suppress(ImportError):  # it comes with the extra `test`
    from hypothesis import settings

    settings.register_profile("any machine", deadline=None)  # a hang is what pytest-timeout is for
    settings.load_profile("any machine")
os.environ.setdefault("COLUMNS", "80")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: a second thread only waits for the other core
GOLDEN = Path(__file__).parent / "golden"
SCHEMA = Path(__file__).parent.parent / "docs/schema/bnguard-1.schema.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite-golden", action="store_true", help="write what is printed now as the expectation")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME``; ``pytest --overwrite-golden`` takes the present text as right."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--overwrite-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing: run pytest --overwrite-golden and look at it"
        assert text == path.read_text(encoding="utf-8")

    return compare


def without_further_keys(schema: Any) -> Any:
    """Return the schema with no key allowed that it does not describe: readers may ignore such, the tests do not."""
    if isinstance(schema, list):
        return [without_further_keys(x) for x in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {k: without_further_keys(v) for k, v in schema.items()}
    return {**strict, "additionalProperties": False} if "required" in strict and "properties" in strict else strict


@pytest.fixture(scope="session", autouse=True)
def in_the_foreground() -> Iterator[None]:
    """Take interrupts also where the suite is a background job: shells start those with interrupts ignored.

    Every process that a test starts would ignore them as well.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def every_json_follows_the_schema() -> Iterator[None]:
    """Hold every JSON document that is rendered while the tests run against docs/schema."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:  # it comes with the extra `test`
        yield
        return
    from bnguard._report.formats import json as as_json

    validator = Draft202012Validator(without_further_keys(json.loads(SCHEMA.read_text(encoding="utf-8"))))
    render = as_json.render_document

    @functools.wraps(render)
    def checked(document: Mapping[str, Any]) -> str:
        text = render(document)
        validator.validate(json.loads(text))
        return text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(as_json, "render_document", checked)
        yield
