"""The hint for a name that is not known."""

from __future__ import annotations

from pathlib import Path

from bnguard._errors import did_you_mean


def test_the_nearest_name_is_meant() -> None:
    assert did_you_mean("widht", ["width", "depth"]) == "did you mean width?"
    assert did_you_mean("BN10", ["BN101", "BN302", "DL101"]) == "did you mean BN101?"
    assert did_you_mean("BN10", ["BN101", "BN102", "DL101"]) == "did you mean BN102 or BN101?"
    assert did_you_mean("xyz", ["width", "weight"]) is None
    assert did_you_mean("", ["width"]) is None


def test_names_that_differ_in_case_and_dashes_alone_come_first() -> None:
    assert did_you_mean("BATCHSIZE", ["batch-sizes", "batch-size"]) == "did you mean batch-size?"
    assert did_you_mean("net", ["nets", "Net", "NET"]) == "did you mean Net or NET?"


def test_a_name_can_be_shown_as_it_is_to_be_typed() -> None:
    assert did_you_mean("trian.py", ["train.py"], shown=Path("src").joinpath) == "did you mean src/train.py?"


def test_the_same_letters_in_another_order_are_nearest() -> None:
    assert did_you_mean("BN110", ["BN101", "BN104", "BN106", "DL101"]) == "did you mean BN101?"
    assert did_you_mean("trian", ["train", "brain"]) == "did you mean train?"
    assert did_you_mean("stop", ["stop2", "pots", "tops", "opts", "post"]) == "did you mean pots or tops or opts?"
