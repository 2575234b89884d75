"""What a training loop shows of itself, and when it is stopped: every loop here is run for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from bnguard.model import private
from bnguard.rehearsal.batches import SeenLoader
from bnguard.rehearsal.patches import learning
from bnguard.rehearsal.recorder import Recorder
from bnguard.rehearsal.stop import Stop


def data(n: int = 6, batch_size: int = 2, **more: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(n, 3), torch.randn(n, 1)), batch_size=batch_size, **more)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def learn(loop: Callable[[list[Any]], None]) -> tuple[Recorder, list[Any], bool]:
    """Run a loop that logs what it does; say what was recorded, logged, and whether it was stopped."""
    recorder, log = Recorder(), []
    with learning(recorder):
        try:
            loop(log)
        except Stop:
            return recorder, log, True
    return recorder, log, False


def trained(recorder: Recorder) -> list[SeenLoader]:
    return [s for s in recorder.loaders if s.trained]


def test_the_stop_comes_with_the_second_batch() -> None:
    def loop(log: list[Any]) -> None:
        loader, model = data(), net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        for x, y in loader:
            log.append(len(x))
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([2], True)
    (call,) = recorder.calls
    assert call.mode == "train"
    assert call.recipe is not None
    assert [tuple(t.shape) for t in call.recipe.make(5, "meta")[0]] == [(5, 3)]
    assert call.loader is recorder.loaders[0] is trained(recorder)[0]


def test_a_loader_of_one_batch_is_stopped_before_evaluation_and_before_the_next_epoch() -> None:
    def loop(log: list[Any]) -> None:
        loader, model = data(2), net()
        for epoch in range(2):
            iterator = iter(loader)
            x, _ = next(iterator)
            model(x).sum().backward()
            log.append(epoch)

    _, log, stopped = learn(loop)
    assert (log, stopped) == ([0], True)


def test_evaluation_before_training_is_let_run() -> None:
    def loop(log: list[Any]) -> None:
        train, val, model = data(), data(5), net()
        model.eval()
        for x, _ in val:  # with gradients, as people forget to switch them off
            model(x)
            log.append("val")
        model.train()
        with torch.no_grad():
            model(next(iter(train))[0])
        for x, _ in train:
            model(x).sum().backward()
            log.append("train")

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == (["val"] * 3 + ["train"], True)
    assert (recorder.calls[0].mode, recorder.calls[0].loader) == ("eval", recorder.loaders[1])
    assert trained(recorder) == [recorder.loaders[0]]


@pytest.mark.parametrize("leave_train_mode_on", [False, True])
def test_evaluation_within_the_first_step_is_seen_and_stopped(leave_train_mode_on: bool) -> None:
    def loop(log: list[Any]) -> None:
        train, val, model = data(), data(5), net()
        for x, _ in train:
            model(x).sum().backward()
            log.append("train")
            model.train(leave_train_mode_on)
            with torch.set_grad_enabled(not leave_train_mode_on):
                for v, _ in val:
                    model(v)
                    log.append("val")

    _, log, stopped = learn(loop)
    assert (log, stopped) == (["train"], True)


def test_two_loaders_that_feed_one_step_are_both_training_loaders() -> None:
    def loop(log: list[Any]) -> None:
        labelled, unlabelled, model = data(6, 2), data(20, 4), net()
        for (x, _), (u, _) in zip(labelled, unlabelled, strict=False):
            (model(x).sum() + model(u).sum()).backward()
            log.append((len(x), len(u)))

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([(2, 4)], True)
    assert trained(recorder) == recorder.loaders
    assert [c.loader is s for c, s in zip(recorder.calls, recorder.loaders, strict=True)] == [True, True]


def test_a_gan_has_two_models_and_noise_of_the_batch_size() -> None:
    generator, discriminator = net(), nn.Linear(1, 1)

    def loop(log: list[Any]) -> None:
        loader = DataLoader(TensorDataset(torch.randn(6, 1)), batch_size=2)
        step_d, step_g = optim.Adam(discriminator.parameters()), optim.Adam(generator.parameters())
        for (real,) in loader:
            with torch.no_grad():
                fake = generator(torch.randn(len(real), 3))
            discriminator(torch.cat([real, fake])).sum().backward()
            step_d.step()
            discriminator(generator(torch.randn(len(real), 3))).sum().backward()
            step_g.step()
            log.append(len(real))

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([2], True)
    assert set(recorder.modes) == {generator, discriminator}
    shapes = [
        (c.model is generator, *(tuple(t.shape) for t in c.recipe.make(1, "meta")[0]))
        for c in recorder.calls
        if c.recipe is not None
    ]
    assert shapes == [(True, (1, 3)), (False, (2, 1)), (False, (1, 1))]  # two batches joined, then one


def test_a_batch_that_was_fetched_ahead_is_not_the_second() -> None:
    class Ahead(DataLoader[Any]):
        def __iter__(self) -> Any:
            batches = super().__iter__()
            current = next(batches)
            for following in batches:
                yield current
                current = following
            yield current

    def loop(log: list[Any]) -> None:
        loader, model = Ahead(TensorDataset(torch.randn(5, 3)), batch_size=2), net()
        for (x,) in loader:
            model(x).sum().backward()
            log.append(len(x))

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([2], True)
    assert recorder.loaders[0].given == 1


def test_a_moved_batch_is_known_by_its_size() -> None:
    def loop(log: list[Any]) -> None:
        other, loader, model = data(9, 3), data(8, 4), net()
        next(iter(loader))
        next(iter(other))
        for x, _ in loader:
            model(x.double().float()[:, :3].clone()).sum().backward()

    recorder, _, _ = learn(loop)
    assert recorder.calls[-1].loader is recorder.loaders[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_iterable_dataset_with_workers_ends_with_the_stop(workers: int) -> None:
    def loop(log: list[Any]) -> None:
        loader = DataLoader(Stream(), batch_size=2, num_workers=workers)
        model = net()
        for x in loader:
            model(x).sum().backward()
            log.append(len(x))

    _, log, stopped = learn(loop)
    assert (log, stopped) == ([2], True)


class Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.randn(7, 3))


def test_a_loss_with_no_parameters_is_no_model() -> None:
    def loop(log: list[Any]) -> None:
        model, loss = net().eval(), nn.MSELoss()
        for x, y in data():
            loss(model(x), y)
            log.append(len(x))

    recorder, log, stopped = learn(loop)
    assert (log, stopped, recorder.trained) == ([2, 2, 2], False, False)


def test_a_stop_that_is_swallowed_comes_again_until_the_process_is_ended() -> None:
    ended = []

    class EndedError(BaseException):
        pass

    def end() -> None:
        ended.append(True)
        raise EndedError

    recorder, swallowed = Recorder(end), 0
    with learning(recorder):
        loader, model = data(), net()
        try:
            while True:
                try:
                    for x, _ in loader:
                        model(x).sum().backward()
                except Stop:
                    swallowed += 1
        except EndedError:
            pass
    assert (swallowed, ended) == (5, [True])


def test_without_a_data_loader_the_second_step_of_an_optimizer_ends_it() -> None:
    def loop(log: list[Any]) -> None:
        model, x = net(), torch.randn(20, 3)
        optimizer = optim.SGD(model.parameters(), 0.1)
        for i in range(0, 20, 4):
            optimizer.zero_grad()
            model(x[i : i + 4]).sum().backward()
            optimizer.step()
            log.append(i)

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([0], True)
    assert trained(recorder) == []


def test_arguments_that_do_not_follow_the_batch_are_no_recipe() -> None:
    class Box:
        def __init__(self, x: torch.Tensor) -> None:
            self.x = x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(3)

        def forward(self, box: Box) -> torch.Tensor:
            return self.bn(box.x)

    def loop(log: list[Any]) -> None:
        model = Net()
        for x, _ in data():
            model(Box(x)).sum().backward()

    recorder, _, stopped = learn(loop)
    assert stopped
    assert [c.recipe for c in recorder.calls] == [None]


def test_a_batch_that_is_an_object_of_its_own_is_collated_again() -> None:
    geometric = pytest.importorskip("torch_geometric")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(3)

        def forward(self, graphs: Any) -> torch.Tensor:
            return self.bn(geometric.nn.global_mean_pool(graphs.x, graphs.batch))

    def loop(log: list[Any]) -> None:
        graphs = [geometric.data.Data(x=torch.randn(5, 3), edge_index=torch.zeros(2, 0).long()) for _ in range(9)]
        model = Net()
        for batch in geometric.loader.DataLoader(graphs, batch_size=4):
            model(batch).sum().backward()
            log.append(batch.num_graphs)

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([4], True)
    (call,) = recorder.calls
    assert call.recipe is not None
    for size in (1, 3):
        (batch,), _ = call.recipe.make(size, "cpu")
        assert batch.num_graphs == size


def test_modes_are_those_of_the_first_training_call() -> None:
    model = net()

    def loop(log: list[Any]) -> None:
        for x, _ in data():
            model.train()
            model[1].eval()
            model(x).sum().backward()
            model.train()

    recorder, _, _ = learn(loop)
    assert [recorder.modes[model][m] for m in model] == [True, False, True]


def test_wrapped_models_are_one_root() -> None:
    model = nn.DataParallel(torch.compile(net(), backend="eager"))

    def loop(log: list[Any]) -> None:
        for x, _ in data():
            model(x).sum().backward()
            log.append(len(x))

    recorder, log, stopped = learn(loop)
    assert (log, stopped, list(recorder.modes)) == ([2], True, [model])


def test_a_thread_that_fetches_ahead_is_let_run() -> None:
    import queue
    import threading

    def loop(log: list[Any]) -> None:
        loader, model = data(20, 2), net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        batches: queue.Queue[Any] = queue.Queue(maxsize=3)

        def fetch() -> None:
            for batch in loader:
                batches.put(batch)

        threading.Thread(target=fetch, daemon=True).start()
        for _ in range(10):
            x, _y = batches.get(timeout=20)
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            log.append(len(x))

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([2], True)
    assert len(trained(recorder)) == 1


def test_a_trainer_that_sends_its_step_through_a_wrapper() -> None:
    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Any) -> Any:
            return self(batch[0]).sum()

    lit = Lit()
    wrapper = nn.DataParallel(lit)

    def redirected(batch: Any) -> Any:
        del lit.forward
        return lit.training_step(batch)

    def loop(log: list[Any]) -> None:
        for batch in data():
            lit.forward = redirected  # type: ignore[assignment, method-assign]
            wrapper(batch).backward()

    recorder, _, stopped = learn(loop)
    assert stopped
    assert list(recorder.modes) == [lit]


def test_in_eval_mode_no_batch_of_validation_is_fetched() -> None:
    def loop(log: list[Any]) -> None:
        train, val, model = data(), data(5), net()
        for x, _ in train:
            model(x).sum().backward()
            model.eval()
            log.append("eval")
            next(iter(val))
            log.append("fetched")

    _, log, stopped = learn(loop)
    assert (log, stopped) == (["eval"], True)


@pytest.mark.parametrize("leave_train_mode_on", [False, True])
def test_an_evaluation_on_a_batch_that_was_there_before_is_recorded_and_stopped(leave_train_mode_on: bool) -> None:
    def loop(log: list[Any]) -> None:
        train, val, model = data(), data(5), net()
        fixed, _ = next(iter(val))
        for x, _ in train:
            model(x).sum().backward()
            model.train(leave_train_mode_on)
            with torch.no_grad():
                model(fixed)
            log.append("evaluated")

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([], True)
    mode = "train" if leave_train_mode_on else "eval"
    assert [(c.mode, c.loader) for c in recorder.calls] == [("train", recorder.loaders[0]), (mode, recorder.loaders[1])]


def test_a_batch_is_known_by_its_memory_not_by_being_the_latest() -> None:
    def loop(log: list[Any]) -> None:
        first, second, model = data(5, 3), data(6, 3), net()
        ahead = iter(first)
        (x, _), _, _ = next(ahead), next(ahead), next(iter(second))
        model(x).sum().backward()

    recorder, _, _ = learn(loop)
    (call,) = recorder.calls
    assert call.loader is recorder.loaders[0]
    assert call.recipe is not None
    assert [tuple(t.shape) for t in call.recipe.make(7, "meta")[0]] == [(7, 3)]


def test_a_forward_that_checkpointing_repeats_is_no_model_of_its_own() -> None:
    from torch.utils.checkpoint import checkpoint

    class Saves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.out = net(), nn.Linear(1, 1)

        def forward(self, x: torch.Tensor) -> Any:
            return self.out(checkpoint(self.block, x, use_reentrant=False))

    def loop(log: list[Any]) -> None:
        model = Saves()
        for x, _ in data():
            model(x).sum().backward()
            log.append(model.block[0].weight.grad is not None)

    recorder, log, stopped = learn(loop)
    assert (log, stopped) == ([True], True)
    assert [type(call.model).__name__ for call in recorder.calls] == ["Saves"]


def test_a_thread_that_has_fetched_everything_before_training_begins() -> None:
    import threading

    def loop(log: list[Any]) -> None:
        loader, model = data(20, 2), net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        batches: list[Any] = []
        fetch = threading.Thread(target=lambda: batches.extend(loader))
        fetch.start()
        fetch.join()
        for x, _y in batches:
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            log.append(len(x))

    _, log, stopped = learn(loop)
    assert (log, stopped) == ([2], True)


def test_without_a_word_of_torch_no_forward_counts_as_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[bool] = []

    class Asks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            inside.append(private.in_backward())
            return gradient

    x = torch.ones(1, requires_grad=True)
    Asks.apply(x).backward()
    assert (inside, private.in_backward()) == ([True], False)
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    Asks.apply(x).backward()
    assert inside == [True, False]
