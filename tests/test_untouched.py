"""A process is as it was before, also where the user's code raises."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from bnguard._untouched import (
    paused_gc,
    quiet,
    random_states_kept,
    replaced,
    surroundings_kept,
    switches,
    untouched_process,
)


class UsersError(Exception):
    pass


def random_states() -> tuple[object, ...]:
    _, key, position, *_ = np.random.get_state()
    return random.getstate(), (key.tobytes(), position), torch.get_rng_state().tolist()


def draw() -> None:
    random.random(), np.random.rand(), torch.rand(1)


@pytest.mark.parametrize("keep", [random_states_kept, untouched_process])
def test_random_states_come_back(keep: Callable[[], object]) -> None:
    before = random_states()
    with suppress(UsersError), keep():
        draw()
        assert all(one != other for one, other in zip(random_states(), before, strict=True))
        raise UsersError
    assert random_states() == before


def test_switches_and_filters_come_back() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        before, filters = [ask() for ask, _ in switches()], list(warnings.filters)
        with suppress(UsersError), untouched_process():
            torch.set_default_dtype(torch.float16)
            torch.set_default_device("meta")
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.enabled = False
            warnings.simplefilter("error")
            raise UsersError
        assert [ask() for ask, _ in switches()] == before
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert list(warnings.filters) == filters
        assert torch.overrides._get_current_function_mode_stack() == []
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_nobody_has_imported_is_not_imported() -> None:
    code = (
        "import sys; from bnguard._untouched import *\n"
        "with random_states_kept(), quiet(), paused_gc(), surroundings_kept(): pass\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_surroundings_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNGUARD_TEST", "before")
    before = (list(sys.path), list(sys.argv), dict(os.environ), Path.cwd(), sys.getrecursionlimit())
    with suppress(UsersError), surroundings_kept():
        sys.path.insert(0, str(tmp_path))
        sys.argv = ["train.py"]
        os.environ["BNGUARD_TEST"] = "after"
        os.environ["BNGUARD_TEST_OTHER"] = "new"
        os.chdir(tmp_path)
        sys.setrecursionlimit(5000)
        raise UsersError
    assert (list(sys.path), list(sys.argv), dict(os.environ), Path.cwd(), sys.getrecursionlimit()) == before


def test_the_collector_rests_and_goes_on() -> None:
    assert gc.isenabled()
    with suppress(UsersError), paused_gc():
        with paused_gc():
            pass
        assert not gc.isenabled()  # the inner one did not start it
        raise UsersError
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    with paused_gc(freeze=True):
        kept = [[] for _ in range(100)]
    assert gc.get_freeze_count() >= frozen + len(kept)
    gc.unfreeze()


def test_an_attribute_comes_back_as_it_was_stored() -> None:
    class Owner:
        @staticmethod
        def method() -> int:
            return 1

    stored = vars(Owner)["method"]
    with suppress(UsersError), replaced(Owner, "method", lambda: 2):
        assert Owner.method() == 2
        raise UsersError
    assert vars(Owner)["method"] is stored
    module = types.ModuleType("settings")
    module.value = 1
    with replaced(module, "value", 2):
        assert module.value == 2
    assert module.value == 1


def test_prints_go_to_whatever_stderr_is(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("a line")
        warnings.warn("a warning", stacklevel=1)
    assert capsys.readouterr() == ("", "a line\n")
