"""What a program prints or logs is noticed once, and neither changed nor kept alive."""

from __future__ import annotations

import gc
import logging
import traceback
import weakref

import pytest
import torch
from diagnose import models

from bnguard._run.shown import Shown

LONE = torch.randn(1, 4)


def fail(x: torch.Tensor = LONE) -> None:
    try:
        models.Deep()(x)
    except ValueError:
        traceback.format_exc()


def test_a_traceback_is_the_same_text_and_is_noticed() -> None:
    before = traceback.TracebackException.__init__
    with Shown(replay=True) as shown:
        try:
            models.Deep()(LONE)
        except ValueError as error:
            text = traceback.format_exc()
            inside = error
    assert traceback.TracebackException.__init__ is before
    assert "".join(traceback.format_exception(inside)) == text
    assert shown.last is not None
    assert (shown.last.layer, shown.last.code) == ("blocks.0.norm", "RT101")
    assert shown.last.evidence[-1].startswith("the script caught it")


def test_logging_and_chains_are_noticed_too(caplog: pytest.LogCaptureFixture) -> None:
    with Shown(replay=False) as shown:
        try:
            try:
                models.Deep()(LONE)
            except ValueError as error:
                raise RuntimeError("fold 3") from error
        except RuntimeError:
            logging.exception("failed")
    assert "fold 3" in caplog.text
    assert shown.last is not None
    assert shown.last.layer == "blocks.0.norm"


def test_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with Shown(replay=False) as shown:
        try:
            torch.zeros(2).view(3)
        except RuntimeError:
            traceback.format_exc()
    assert shown.last is None


def test_the_same_words_are_diagnosed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import bnguard._diagnose.diagnose as room

    found, calls = room.find_failure, []
    monkeypatch.setattr(room, "find_failure", lambda *a, **k: calls.append(a) or found(*a, **k))
    with Shown(replay=False):
        for _ in range(3):
            fail()
    assert len(calls) == 1


def test_a_diagnosis_that_fails_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bnguard._diagnose.diagnose.find_failure", broken)
    with Shown(replay=False) as shown:
        fail()
    assert shown.last is None


def test_nothing_of_the_call_is_kept_alive() -> None:
    x = LONE.clone()
    held = weakref.ref(x)
    with Shown(replay=True) as shown:
        fail(x)
        del x
        gc.collect()
        assert held() is None
    assert shown.last is not None
