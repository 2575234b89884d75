"""What a guard may and may not do to an exception, a model and a process."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import io
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
import weakref
from pathlib import Path

import pytest
import torch
from diagnose import models
from torch import nn

import bnguard
from bnguard import _guard as guard_module
from bnguard._guard import install

ROOT = Path(__file__).parents[1]
LONE = torch.randn(1, 4)


def test_the_same_exception_leaves_with_its_traceback() -> None:
    model, raised = models.Deep(), []

    def run() -> None:
        try:
            model(LONE)
        except ValueError as error:
            raised.append((error, error.args, traceback.format_tb(error.__traceback__)))
            raise

    with pytest.raises(ValueError, match="Expected more than 1 value") as caught, bnguard.guard(model):
        run()
    error, args, lines = raised[0]
    assert caught.value is error
    assert error.args == args
    kept = traceback.format_tb(error.__traceback__)
    assert kept[-len(lines) + 1 :] == lines[1:]
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.__notes__ == [error.bnguard.text()]


def test_nothing_happens_while_all_goes_well() -> None:
    model = models.Deep()
    with bnguard.guard(model) as guard:
        model(torch.randn(2, 4))
    assert guard.watch is None


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        KeyError("a"),
        RuntimeError("out of ideas"),
        ValueError("wrong"),
        StopIteration(),
    ],
    ids=repr,
)
def test_other_exceptions_leave_as_they_came(error: BaseException) -> None:
    class Raises(nn.Module):
        def forward(self, x):
            raise error

    model = nn.Sequential(nn.BatchNorm1d(4), Raises())
    with pytest.raises(type(error)) as caught, bnguard.guard(model):
        model(torch.randn(2, 4))
    assert caught.value is error
    assert not hasattr(error, "bnguard")
    assert not hasattr(error, "__notes__")


def test_a_users_hook_on_a_layer_is_not_the_layer() -> None:
    model = models.Head()

    def hook(module, args) -> None:
        raise ValueError("my own check")

    model.norm.register_forward_pre_hook(hook)
    with pytest.raises(ValueError, match="my own") as caught, bnguard.guard(model):
        model(LONE)
    assert not hasattr(caught.value, "bnguard")


def test_interrupting_within_a_layer_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "batch_norm", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught, bnguard.guard():
        models.Head()(torch.randn(2, 4))
    assert not hasattr(caught.value, "bnguard")


def test_nested_guards_annotate_once() -> None:
    model = models.Deep()
    with pytest.raises(ValueError, match="Expected") as caught, bnguard.guard(), bnguard.guard(model), bnguard.guard():
        model(LONE)
    assert len(caught.value.__notes__) == 1


def test_a_failing_diagnosis_leaves_the_error_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(guard_module, "find_failure", broken)
    with pytest.raises(ValueError, match="Expected") as caught, bnguard.guard():
        models.Deep()(LONE)
    assert not hasattr(caught.value, "bnguard")
    assert caught.value.__context__ is None
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["bnguard: the error below could not be diagnosed (ZeroDivisionError: division by zero)"]


@pytest.mark.parametrize("what", ["resnet18", 3, [], models.Deep])
def test_a_guard_around_no_module(what: object) -> None:
    with pytest.raises(bnguard.BnguardError, match=r"is no nn\.Module"):
        bnguard.guard(what)
    with pytest.raises(bnguard.BnguardError, match=r"is no nn\.Module"):
        bnguard.diagnose(ValueError(), what)


def test_the_decorator_without_parentheses_is_explained() -> None:
    with pytest.raises(bnguard.BnguardError) as caught:

        @bnguard.guard
        def train() -> None: ...

    assert "@bnguard.guard()" in caught.value.hint


def test_watching_needs_the_model() -> None:
    with pytest.raises(bnguard.BnguardError):
        bnguard.guard(watch=True)


def test_as_a_decorator() -> None:
    model = models.Deep()

    @bnguard.guard(model)
    def train(x: torch.Tensor, depth: int = 0) -> int:
        """Train."""
        if depth:
            return train(x, depth - 1)
        model(x)
        return 7

    assert train.__doc__ == "Train."
    assert train(torch.randn(2, 4)) == 7
    with pytest.raises(ValueError, match="Expected") as caught:
        train(LONE, depth=2)
    assert caught.value.bnguard.layer == "blocks.0.norm"
    assert len(caught.value.__notes__) == 1


def test_as_a_decorator_of_a_coroutine() -> None:
    @bnguard.guard()
    async def train() -> None:
        models.Deep()(LONE)

    with pytest.raises(ValueError, match="Expected") as caught:
        asyncio.run(train())
    assert caught.value.bnguard.layer == "blocks.0.norm"


class Steps:
    """What generators of both kinds do with a model, each resume written down."""

    def __init__(self) -> None:
        self.model = models.Deep()
        self.met: list[object] = []

    def plain(self, *sizes: int):
        """Yield."""
        try:
            for size in sizes:
                try:
                    self.met.append((yield self.model(torch.randn(size, 4)).shape[0]))
                except KeyError as thrown:
                    self.met.append(thrown)
            return "end"
        finally:
            self.met.append("closed")

    async def asynchronous(self, *sizes: int):
        """Yield."""
        try:
            for size in sizes:
                await asyncio.sleep(0)
                try:
                    self.met.append((yield self.model(torch.randn(size, 4)).shape[0]))
                except KeyError as thrown:
                    self.met.append(thrown)
        finally:
            await asyncio.sleep(0)
            self.met.append("closed")


def test_a_generator_is_guarded_at_each_resume() -> None:
    steps = Steps()
    guarded = bnguard.guard(steps.model)(steps.plain)
    assert inspect.isgeneratorfunction(guarded)
    assert guarded.__doc__ == "Yield."
    running = guarded(2, 3, 1)
    assert (next(running), running.send("sent")) == (2, 3)
    with pytest.raises(ValueError, match="Expected") as caught:
        next(running)
    assert caught.value.bnguard.layer == "blocks.0.norm"
    assert len(caught.value.__notes__) == 1
    assert steps.met == ["sent", None, "closed"]


def test_a_generator_is_sent_to_thrown_at_and_closed_as_without_a_guard() -> None:
    def drive(make):
        steps = Steps()
        running, error = make(steps), KeyError("mine")
        seen: list[object] = [next(running), running.send(5), running.throw(error)]
        steps.met = [("the same" if x is error else x) for x in steps.met]
        running.close()
        with pytest.raises(StopIteration):
            next(running)
        ended = make(steps)
        for _ in range(4):
            next(ended)
        with pytest.raises(StopIteration) as end:
            ended.send(6)
        thrown = make(steps)
        next(thrown)
        with pytest.raises(ZeroDivisionError) as left:
            thrown.throw(ZeroDivisionError("mine"))
        assert not hasattr(left.value, "bnguard")
        return [*seen, end.value.value, *steps.met]

    def all_of(steps: Steps):
        return (yield from steps.plain(2, 3, 4, 5))

    plain = drive(all_of)
    assert drive(lambda steps: bnguard.guard(steps.model)(steps.plain)(2, 3, 4, 5)) == plain
    assert plain[:4] == [2, 3, 4, "end"]
    assert "the same" in plain


def test_an_asynchronous_generator_is_guarded_at_each_resume() -> None:
    steps = Steps()
    guarded = bnguard.guard(steps.model)(steps.asynchronous)
    assert inspect.isasyncgenfunction(guarded)

    async def drive() -> None:
        running, error = guarded(2, 3, 4, 5), KeyError("mine")
        assert [await running.asend(None), await running.asend("sent"), await running.athrow(error)] == [2, 3, 4]
        assert steps.met == ["sent", error]
        await running.aclose()
        assert steps.met == ["sent", error, "closed"]
        assert [size async for size in guarded(2, 3)] == [2, 3]
        async for _ in guarded(2, 1):
            pass

    with pytest.raises(ValueError, match="Expected") as caught:
        asyncio.run(drive())
    assert caught.value.bnguard.layer == "blocks.0.norm"
    assert steps.met[-1] == "closed"


def test_a_generator_is_watched_while_it_runs_and_summed_up_once(capsys: pytest.CaptureFixture[str]) -> None:
    model = models.Conv()

    @bnguard.guard(model, watch=True)
    def steps():
        for n in (1, 2, 1):
            yield model(torch.randn(n, 3, 8, 8))

    for _ in steps():
        model(torch.randn(1, 3, 8, 8))  # what the caller does in between is not the generator's
    assert hooks_of(model) == 0
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "RT105 2 single-sample batches in training mode passed 2 BatchNorm layers, first in step 1 of 3" in shown


def test_an_exception_raised_in_its_stead_tells_of_it() -> None:
    def train() -> None:
        try:
            models.Deep()(LONE)
        except ValueError as error:
            raise RuntimeError("training failed") from error

    with pytest.raises(RuntimeError, match="training failed") as caught, bnguard.guard(), bnguard.guard():
        train()
    assert caught.value.bnguard.layer == "blocks.0.norm"
    assert caught.value.__notes__ == [caught.value.bnguard.text()]
    assert bnguard.diagnose(caught.value).layer == "blocks.0.norm"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="task groups came with Python 3.11")
def test_a_group_of_exceptions_tells_of_the_one_in_it() -> None:
    @bnguard.guard()
    async def train() -> None:
        async def step() -> None:
            models.Deep()(LONE)

        async with asyncio.TaskGroup() as group:
            group.create_task(step())

    with pytest.raises(Exception, match="unhandled errors in a TaskGroup") as caught:
        asyncio.run(train())
    assert caught.value.bnguard.layer == "blocks.0.norm"


def test_a_note_that_stands_in_the_chain_is_not_repeated() -> None:
    with pytest.raises(RuntimeError) as caught, bnguard.guard():  # noqa: PT012 - the two are one statement
        try:
            with bnguard.guard():
                models.Deep()(LONE)
        except ValueError as error:
            raise RuntimeError("training failed") from error
    assert caught.value.bnguard is caught.value.__cause__.bnguard
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(("code", "told"), [(1, 1), ("training failed", 1), (0, 0), (None, 0)])
def test_an_exit_instead_of_the_error_is_told_at_once(
    code: object, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def train() -> None:
        try:
            models.Deep()(LONE)
        except ValueError:
            sys.exit(code)

    with pytest.raises(SystemExit) as caught, bnguard.guard(), bnguard.guard():
        train()
    assert caught.value.code == code
    assert capsys.readouterr().err.count("bnguard: blocks.0.norm (BatchNorm1d(4)") == told
    assert hasattr(caught.value, "bnguard") == bool(told)


def test_by_hand() -> None:
    try:
        models.Deep()(LONE)
    except ValueError as error:
        assert bnguard.diagnose(error).layer == "blocks.0.norm"
        assert not hasattr(error, "bnguard")
    assert bnguard.diagnose(KeyError("a")) is None
    bare = bnguard.diagnose(ValueError("Expected more than 1 value per channel when training, got input size [1, 9]"))
    assert (bare.layer, bare.shape, bare.code) == (None, (1, 9), "RT101")
    with pytest.raises(bnguard.BnguardError):
        bnguard.diagnose("text")


@pytest.mark.parametrize("replay", [True, False])
def test_replaying_may_be_off(replay: bool) -> None:
    with pytest.raises(ValueError, match="Expected") as caught, bnguard.guard(replay=replay):
        models.Deep()(LONE)
    assert bool(caught.value.bnguard.replays) == replay


def train(steps: int, guarded: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.LazyLinear(2)
    )
    model(torch.randn(2, 3, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for i in range(steps):
        x = torch.randn(1 if i % 5 == 0 else 4, 3, 8, 8)

        def step(x: torch.Tensor = x) -> None:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())

        if not guarded:
            step()
            continue
        with bnguard.guard(model, watch=True):
            step()
        with pytest.raises(ValueError, match="Expected"), bnguard.guard(model):  # a failure must leave nothing either
            nn.functional.batch_norm(torch.zeros(1, 8), model[1].running_mean, model[1].running_var, training=True)
    return [*losses, *model.state_dict().values(), torch.get_rng_state()]


def test_training_is_bit_identical() -> None:
    plain, guarded = train(50, False), train(50, True)
    assert len(plain) == len(guarded)
    assert all(torch.equal(a, b) for a, b in zip(plain, guarded, strict=True))


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())


def test_no_hook_is_left() -> None:
    model = models.Deep()
    mine = model.register_forward_hook(lambda *_: None)
    with bnguard.guard(model, watch=True), bnguard.guard(model, watch=True):
        assert hooks_of(model) == 1
        assert global_hooks() == 2
        model(torch.randn(2, 4))
    assert hooks_of(model) == 1
    assert global_hooks() == 0
    with (
        pytest.raises(ValueError, match="Expected"),
        bnguard.guard(model, watch=True),
        bnguard.guard(model, watch=True),
    ):
        model(LONE)
    assert hooks_of(model) == 1
    with pytest.raises(KeyboardInterrupt), bnguard.guard(model, watch=True):
        raise KeyboardInterrupt
    assert hooks_of(model) == 1
    assert global_hooks() == 0
    mine.remove()


def global_hooks() -> int:
    return len(torch.nn.modules.module._global_forward_pre_hooks)


def test_a_copy_and_a_saved_model_hold_nothing_of_the_guard() -> None:
    model = models.Conv()
    file = io.BytesIO()
    with bnguard.guard(model, watch=True) as guard:
        copied, pickled = copy.deepcopy(model), pickle.dumps(model)
        torch.save(model, file)
        loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
        for other in (copied, pickle.loads(pickled), loaded):
            assert hooks_of(other) == 0
            other(torch.randn(1, 3, 8, 8))
        assert guard.watch.passed == {}  # a copy is another model
        model(torch.randn(1, 3, 8, 8))
    assert b"bnguard" not in pickled + file.getvalue()
    assert list(guard.watch.passed) == ["bn1", "bn2"]


def tensors() -> int:
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def test_memory_stays_flat_and_no_graph_is_held() -> None:
    model = models.Deep()
    held = []
    with bnguard.guard(model, watch=True):
        for i in range(1000):
            loss = model(torch.randn(4, 4)).sum()
            loss.backward()
            if i % 100 == 0:
                held.append(weakref.ref(loss))
            if i == 100:
                gc.collect()
                before = tensors()
    del loss
    gc.collect()
    assert not [ref for ref in held if ref() is not None]
    assert tensors() <= before


def test_an_exception_that_is_dropped_frees_its_tensors() -> None:
    model, seen = models.Deep(), []

    def attempt() -> None:
        x = LONE.clone()
        seen.append(weakref.ref(x))
        try:
            with bnguard.guard(model):
                model(x)
        except ValueError:
            pass

    attempt()
    gc.collect()
    assert seen[0]() is None


# ---------------------------------------------------------------------------------------- hooks of Python


def test_install_hooks_both_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[BaseException | None] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: shown.append(error))
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_value))
    install()
    hooks = (sys.excepthook, threading.excepthook)
    install()
    assert (sys.excepthook, threading.excepthook) == hooks
    thread = threading.Thread(target=lambda: models.Deep()(LONE))
    thread.start()
    thread.join()
    try:
        models.Deep()(LONE)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert [error.bnguard.layer for error in shown] == ["blocks.0.norm"] * 2


def run_script(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(body), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


SCRIPT = """
    import torch, bnguard
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(x)

    {run}
"""


@pytest.mark.parametrize(
    "run",
    ["bnguard.install(); Net()(torch.zeros(1, 4))", "with bnguard.guard(): Net()(torch.zeros(1, 4))"],
    ids=["install", "guard"],
)
def test_a_plain_script_shows_the_report_once(tmp_path: Path, run: str) -> None:
    result = run_script(tmp_path, SCRIPT.format(run=run))
    assert result.returncode == 1
    assert result.stderr.count("bnguard: norm (BatchNorm1d(4), built at train.py:8) failed") == 1
    assert "ValueError: Expected more than 1 value per channel" in result.stderr
    report = result.stderr.split("bnguard:")[1].split("Traceback")[0]  # before the traceback on Python 3.10
    assert all(len(line) <= 80 for line in report.splitlines())


def test_on_python_3_10_the_text_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard_module.sys, "version_info", (3, 10, 0))
    with pytest.raises(ValueError, match="Expected") as caught, bnguard.guard(), bnguard.guard():
        models.Deep()(LONE)
    assert capsys.readouterr().err == caught.value.bnguard.text() + "\n"
    assert caught.value.__notes__ == [caught.value.bnguard.text()]


@pytest.mark.slow
def test_two_ranks_under_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import torch, bnguard, sys
            import torch.distributed as dist
            from torch import nn
            from torch.nn.parallel import DistributedDataParallel

            dist.init_process_group("gloo")
            torch.manual_seed(0)
            model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), broadcast_buffers=False)
            try:
                with bnguard.guard(model):
                    model(torch.randn(1 if dist.get_rank() == 1 else 2, 4))
            except ValueError as error:
                d = error.bnguard
                print("FOUND", d.layer, d.rank, d.world_size, "rank 1 of 2" in d.text(), flush=True)
            dist.barrier()
            dist.destroy_process_group()
            """
        ),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.stdout.split("FOUND")[1:] == [" 1 1 2 True\n"], result.stderr[-2000:]
