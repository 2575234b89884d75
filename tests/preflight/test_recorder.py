"""Which batch a forward belongs to, and in which mode it was called: every loop here is run for real."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from bnguard._preflight.outcome import Settings, Stop
from bnguard._preflight.patches import watching
from bnguard._preflight.recorder import Recorder

Seen = list[tuple[str, int, int, int]]


def data(n: int = 5, batch_size: int = 2, **more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(n, 3), torch.randn(n, 1)), batch_size=batch_size, **more)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def seen(loop: Callable[[], object], budget: float = 60.0) -> tuple[Recorder, Seen]:
    """Run a loop, and say of each forward its mode, loader (by order), step and the size of its batch."""
    recorder, found = Recorder(Settings(budget, float("inf"))), []
    ended = recorder.ended

    def note(call: Any, error: BaseException | None) -> None:
        loader = -1 if call.batch is None else recorder.loaders.index(call.batch.run.record)
        found.append((call.use.mode, loader, call.step, call.size))
        ended(call, error)

    recorder.ended = note  # type: ignore[method-assign]
    with watching(recorder), contextlib.suppress(Stop):
        loop()
    return recorder, found


def test_each_forward_has_its_step_mode_and_loader() -> None:
    def loop() -> None:
        train, val, model = data(5), data(3), net()
        for x, _ in train:
            model(x).sum().backward()
        model.eval()
        for x, _ in val:
            model(x)

    recorder, found = seen(loop)
    assert found == [("train", 0, 1, 2), ("train", 0, 2, 2), ("train", 0, 3, 1), ("eval", 1, 1, 2), ("eval", 1, 2, 1)]
    assert recorder.trained


def test_a_moved_batch_that_was_fetched_ahead_keeps_its_step() -> None:
    class Ahead:
        def __init__(self, loader: DataLoader[Any]) -> None:
            self.loader = loader

        def __iter__(self) -> Iterator[Tensor]:
            held = None
            for x, _ in self.loader:
                ready = x.double().float()
                if held is not None:
                    yield held
                held = ready
            assert held is not None
            yield held

    def loop() -> None:
        model = net()
        for x in Ahead(data(5)):
            model(x).sum().backward()

    assert seen(loop)[1] == [("train", 0, 1, 2), ("train", 0, 2, 2), ("train", 0, 3, 1)]


def test_batches_of_a_thread_are_known_by_their_size() -> None:
    def loop() -> None:
        fetched: queue.Queue[Any] = queue.Queue()
        thread = threading.Thread(target=lambda: [fetched.put(x + 0) for x, _ in data(5)])
        thread.start()
        thread.join()
        model = net()
        while not fetched.empty():
            model(fetched.get()).sum().backward()

    assert [(step, size) for _, _, step, size in seen(loop)[1]][-1] == (3, 1)


def test_two_loaders_that_feed_one_step_are_told_apart() -> None:
    def loop() -> None:
        labelled, unlabelled, model = data(6, 2), data(12, 4), net()
        for (x, _), (u, _) in zip(labelled, unlabelled, strict=True):
            (model(x).sum() + model(u * 1.0).sum()).backward()

    assert seen(loop)[1][:2] == [("train", 0, 1, 2), ("train", 1, 1, 4)]


def test_noise_of_any_size_belongs_to_the_batch_at_hand() -> None:
    def loop() -> None:
        model = net()
        for _ in data(5):
            model(torch.randn(7, 3)).sum().backward()

    assert [step for _, _, step, _ in seen(loop)[1]] == [1, 2, 3]


def test_without_a_loader_the_rows_are_those_of_the_argument() -> None:
    def loop() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            model(torch.randn(7, 3)).sum().backward()
            optimizer.step()

    assert seen(loop)[1] == [("train", -1, 1, 7), ("train", -1, 2, 7)]


def test_a_loss_a_repeated_forward_and_shapes_alone_are_no_models() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = checkpoint(self.inner, x, use_reentrant=False)
            return result

    def loop() -> None:
        model, loss = Net(), nn.MSELoss()
        for x, y in data(4):
            loss(model(x), y).backward()
        net().to("meta")(torch.zeros(2, 3, device="meta"))

    assert seen(loop)[1] == [("train", 0, 1, 2), ("train", 0, 2, 2)]


def test_the_stop_is_raised_again_and_then_the_process_is_given_up() -> None:
    given_up: list[int] = []

    class GivenUp(BaseException):
        pass

    def give_up() -> None:
        given_up.append(1)
        raise GivenUp

    recorder = Recorder(Settings(0.0, 0.0), give_up)
    model, refusals = net(), 0
    with watching(recorder):
        while not given_up:
            try:
                model(torch.zeros(2, 3))
            except Stop:
                refusals += 1
            except GivenUp:
                pass
    assert refusals == 5


def test_what_no_shapes_can_be_made_of_is_given_all_the_same() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.norm = nn.GRU(1, 4, batch_first=True), nn.LayerNorm(4)

        def forward(self, packed: nn.utils.rnn.PackedSequence) -> Tensor:
            return self.norm(self.rnn(packed)[1][-1])

    def loop() -> None:
        model = Tagger()
        for x, _ in data(5):
            packed = nn.utils.rnn.pack_padded_sequence(x[:, :, None], torch.full((len(x),), 3), batch_first=True)
            model(packed).sum().backward()

    assert [step for _, _, step, _ in seen(loop)[1]] == [1, 2, 3]


def test_batches_are_asked_for_from_several_threads() -> None:
    def loop() -> None:
        model, batches = net(), iter(data(9))
        with ThreadPoolExecutor(2) as pool:
            for _ in range(5):
                x, _ = pool.submit(next, batches).result()
                model(x).sum().backward()

    assert [step for _, _, step, _ in seen(loop)[1]] == [1, 2, 3, 4, 5]


def test_a_model_may_have_no_parameters() -> None:
    def loop() -> None:
        weight, norm = torch.randn(3, 4, requires_grad=True), nn.BatchNorm1d(4, affine=False)
        optimizer = torch.optim.SGD([weight], 0.1)
        for x, _ in data(6):
            norm(x @ weight).sum().backward()
            optimizer.step()

    recorder, found = seen(loop)
    assert [step for _, _, step, _ in found] == [1, 2, 3]
    assert recorder.trained


def test_nested_tensors_are_given_as_they_are() -> None:
    def ragged(items: list[Any]) -> Tensor:
        return torch.nested.nested_tensor([torch.randn(2 + i % 3, 3) for i in range(len(items))], layout=torch.jagged)

    def loop() -> None:
        model = nn.Sequential(nn.Linear(3, 4))
        for x in data(5, collate_fn=ragged):
            model(x).values().sum().backward()

    assert [step for _, _, step, _ in seen(loop)[1]] == [1, 2, 3]
