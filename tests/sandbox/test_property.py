"""Whatever is done to the files of a folder, the folder is as it was afterwards."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnguard._sandbox import child
from bnguard._sandbox.box import Sandbox
from sandbox.operations import MODES, NAMES, OF_ONE, OF_TWO, PERMISSIONS, TEXTS, Operation, age, do, run_forked, tree

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


paths = st.sampled_from(NAMES)
texts = st.sampled_from(TEXTS)
operation = st.one_of(
    st.tuples(st.just("write"), paths, st.sampled_from(MODES), texts),
    st.tuples(st.sampled_from(OF_ONE), paths),
    st.tuples(st.sampled_from(OF_TWO), paths, paths),
    st.tuples(st.just("chmod"), paths, st.sampled_from(PERMISSIONS)),
    st.tuples(st.just("utime"), paths, st.integers(0, 10**9)),
    st.tuples(st.just("truncate"), paths, st.integers(0, 9)),
    st.tuples(st.just("fork"), paths, texts),
)
operations = st.lists(operation, max_size=25)
beginnings = st.lists(
    st.one_of(
        st.tuples(st.just("write"), paths, st.just("w"), texts),
        st.tuples(st.just("makedirs"), st.sampled_from(("d/e", "d", "f", "f/e"))),
        st.tuples(st.sampled_from(("link", "symlink")), paths, paths),
    ),
    max_size=10,
)


def linked(folder: Path) -> set[frozenset[str]]:
    """Which names are one file."""
    by_number: dict[int, set[str]] = {}
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            by_number.setdefault(path.lstat().st_ino, set()).add(str(path))
    return {frozenset(names) for names in by_number.values()}


whole = given(begin=beginnings, ops=operations, killed_after=st.one_of(st.none(), st.integers(0, 24)))


@settings(max_examples=100, deadline=None)
@whole
def test_every_sequence_is_undone_by_the_journal(
    begin: list[Operation], ops: list[Operation], killed_after: int | None
) -> None:
    check("journal", begin, ops, killed_after)


@settings(max_examples=40, deadline=None)
@whole
def test_no_sequence_reaches_what_is_below_an_overlay(
    begin: list[Operation], ops: list[Operation], killed_after: int | None
) -> None:
    check("overlay", begin, ops, killed_after)


def check(way: str, begin: list[Operation], ops: list[Operation], killed_after: int | None) -> None:
    assert child._journal is None
    with tempfile.TemporaryDirectory() as place:
        cwd = Path(place, "work")
        cwd.mkdir()
        with contextlib.chdir(cwd) if hasattr(contextlib, "chdir") else _chdir(cwd):
            for one in begin:
                do(one)
        age(cwd)
        before, names = tree(cwd), linked(cwd)
        with Sandbox(cwd, way=way) as box:
            run_forked(box, cwd, ops, way, killed_after)
        if way == "overlay" and box.way != way:
            pytest.skip("no overlay here")
        assert tree(cwd) == before
        assert linked(cwd) == names
        assert box.trouble == []
        assert all(left.undone and left.reason is None for left in box.left_out)


@contextlib.contextmanager
def _chdir(folder: Path):
    back = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(back)
