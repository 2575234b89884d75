"""What bnguard takes from the inside of torch is there, and where it is not there is an answer all the same."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from bnguard import _private_torch as private


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch):
    """Take a module of torch away, as a release does that has moved it."""

    def empty(name: str) -> None:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        private.fake_tensor_types.cache_clear()

    yield empty
    private.fake_tensor_types.cache_clear()


def test_tensors_without_memory(empty) -> None:
    mode = private.fake_mode()
    fake = private.fake_tensor(mode, torch.empty(2, 3, device="meta"), "cuda")
    assert (fake.device.type, fake.shape) == ("cuda", (2, 3))
    assert not private.has_values(fake)
    assert not private.has_values(torch.empty(1, device="meta"))
    assert private.has_values(torch.zeros(1))
    empty("torch._subclasses.fake_tensor")
    assert private.fake_mode() is None
    assert private.has_values(torch.zeros(1))


def test_a_process_plays_a_worker() -> None:
    from torch.utils.data import get_worker_info

    with private.as_worker(1, 3, [7]):
        info = get_worker_info()
        assert info is not None
        assert (info.id, info.num_workers, info.dataset) == (1, 3, [7])
    assert get_worker_info() is None


def test_the_backend_is_asked_outside_of_modes_where_they_can_be_left(empty) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Sees(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    with Sees() as mode, private.no_modes():
        torch.zeros(1)
    assert mode.calls == 0
    empty("torch.utils._python_dispatch")
    with private.no_modes():
        assert torch.zeros(1).item() == 0


def test_a_mode_that_sees_operators(empty) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    assert private.dispatch_mode() is TorchDispatchMode
    empty("torch.utils._python_dispatch")
    with private.dispatch_mode()():
        assert torch.zeros(1).item() == 0


def test_a_module_of_torchscript(monkeypatch: pytest.MonkeyPatch) -> None:
    assert private.script_module_type() is torch.jit.ScriptModule
    monkeypatch.delattr(torch.jit, "ScriptModule")
    assert not isinstance(nn.Linear(1, 1), private.script_module_type())


def test_the_default_device_is_what_somebody_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert private.default_device() is None
    with torch.device("meta"):
        assert private.default_device() is None  # a block's, and not the process's
    torch.set_default_device("meta")
    try:
        assert private.default_device() == torch.device("meta")
        with monkeypatch.context() as patch:
            patch.delattr(torch, "_GLOBAL_DEVICE_CONTEXT")
            assert private.default_device() is None
    finally:
        torch.set_default_device(None)


def test_the_graph_of_a_backward() -> None:
    x = torch.ones(2, requires_grad=True)
    first, second = x.exp(), (x * x).sum()
    assert private.order_in_backward(second.grad_fn) > private.order_in_backward(first.grad_fn) >= 0
    assert private.saved_state(first.grad_fn) == "there"
    assert torch.equal(private.saved_value(first.grad_fn, "result"), first)
    first.sum().backward()
    assert private.saved_state(first.grad_fn) == "freed"
    assert private.saved_value(first.grad_fn, "result") is None
    unknown = object()  # a node of a torch that has renamed all of it
    assert private.order_in_backward(unknown) == -1
    assert (private.saved_state(unknown), private.saved_value(unknown, "result")) == (None, None)


def test_what_is_registered_in_a_module() -> None:
    module = nn.Module()
    module.register_parameter("weight", None)
    module.register_buffer("mean", torch.zeros(1))
    module.child = nn.Linear(1, 1)
    module.size = 3
    assert [private.is_registered(module, n) for n in ("weight", "mean", "child", "size")] == [True, True, True, False]
    assert (private.has_children(module), private.has_children(module.child)) == (True, False)
    bare = nn.Module.__new__(nn.Module)  # in a constructor that has not yet called that of Module
    assert not private.is_registered(bare, "weight")
    assert not private.has_children(bare)


def test_hooks_are_the_very_dictionaries_and_move_with_their_handles() -> None:
    old, new = nn.Linear(1, 1), nn.Linear(1, 1)
    seen: list[str] = []
    forward = old.register_forward_hook(lambda module, args, kwargs, out: seen.append("after"), with_kwargs=True)
    before = old.register_forward_pre_hook(lambda module, args: seen.append("before"))
    assert [len(hooks) for hooks in private.hooks_of(old)] == [1, 1, 0, 0]
    private.move_hooks(old, new)
    new(torch.zeros(1))
    assert seen == ["before", "after"]
    forward.remove(), before.remove()
    new(torch.zeros(1))
    assert seen == ["before", "after"]
    assert private.hooks_of(nn.Module.__new__(nn.Module)) == [{}, {}, {}, {}]


def test_a_loader_with_another_part_shares_no_iterator() -> None:
    loader = DataLoader([1, 2, 3], num_workers=1, persistent_workers=True)
    iterator = iter(loader)
    other = private.loader_with(loader, batch_sampler=[[0, 1, 2]], batch_size=None)
    assert [len(batch) for batch in DataLoader([1, 2, 3], batch_sampler=other.batch_sampler)] == [3]
    assert (other._iterator, loader._iterator) == (None, iterator)
    assert loader.batch_size == 1
