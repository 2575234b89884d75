"""What this process is told of its group."""

from __future__ import annotations

from torch import distributed

from bnguard._ranks import rank_and_world_size


def test_without_a_group_there_is_no_rank() -> None:
    assert rank_and_world_size() == (None, 1)


def test_a_group_of_one_is_a_group() -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        assert rank_and_world_size() == (0, 1)
        assert rank_and_world_size(distributed.group.WORLD) == (0, 1)
    finally:
        distributed.destroy_process_group()
    assert rank_and_world_size() == (None, 1)
