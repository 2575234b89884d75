"""The layer is named in every place where a layer can fail."""

from __future__ import annotations

import linecache
import pickle
import threading
import traceback
import warnings

import pytest
import torch
import torch.nn.functional as F
from diagnose import models
from diagnose.wordings import OLD
from torch import nn

import bnguard


def failure(run, model=None, **options):
    """Return what leaves the guard."""
    with pytest.raises(Exception) as caught, bnguard.guard(model, **options):  # noqa: PT011
        run()
    return caught.value


LONE = torch.randn(1, 4)


@pytest.mark.parametrize("given", [True, False], ids=["model given", "found from the traceback"])
@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        (models.Deep, "blocks.0.norm", "BatchNorm1d"),
        (models.Named, "parts.b", "BatchNorm1d"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4))), "1.0", "BatchNorm1d"),
        (lambda: nn.BatchNorm1d(4), "", "BatchNorm1d"),
        (lambda: models.Holder(models.Functional()), "body", "functional"),
        (models.OfAnother, "bn", "BatchNorm1d"),
        (models.Checkpointed, "head.norm", "BatchNorm1d"),
        (lambda: models.Checkpointed(reentrant=True), "head.norm", "BatchNorm1d"),
    ],
    ids=["deep", "dict", "sequential", "root", "functional", "of another", "checkpoint", "reentrant"],
)
def test_eager(make, name: str, kind: str, given: bool) -> None:
    model = make()
    x = LONE.clone().requires_grad_()
    error = failure(lambda: model(x), model if given else None)
    found = error.bnguard
    assert type(error) is ValueError
    assert (found.layer, found.layer_type, found.place) == (name, kind, "traceback")
    assert (found.shape, found.values_per_channel, found.mode, found.code) == ((1, 4), 1, "train", "RT101")
    assert found.source is not None or name in ("", "1.0")  # a bare Sequential: no class tells its lines


def test_a_shared_layer_has_both_names() -> None:
    found = failure(lambda: models.Shared()(LONE)).bnguard
    assert (found.layer, found.aliases) == ("first", ("second",))
    assert "also second" in found.text()


def test_the_line_that_built_it() -> None:
    found = failure(lambda: models.Deep()(LONE)).bnguard
    line = open(found.source.file).read().splitlines()[found.source.line - 1]  # noqa: SIM115, PTH123
    assert "self.norm = nn.BatchNorm1d(4)" in line


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.GroupNorm(4, 4), (1, 4, 1, 1)), (nn.InstanceNorm2d(4), (2, 4, 1, 1)), (nn.SyncBatchNorm(4), (1, 4))],
)
def test_the_relatives(layer: nn.Module, shape: tuple[int, ...]) -> None:
    error = failure(lambda: models.Holder(layer)(torch.randn(shape)))
    assert error.bnguard.layer == "body"
    if not isinstance(layer, nn.SyncBatchNorm):  # that one wants an accelerator
        assert error.bnguard.code == "RT101"


def test_a_functional_call_outside_any_module() -> None:
    error = failure(lambda: F.batch_norm(LONE, None, None, training=True))
    assert error.bnguard.layer is None
    assert error.bnguard.shape == (1, 4)
    assert "cannot be told" in error.bnguard.text()


def test_a_direct_call_of_the_c_function() -> None:
    class Direct(nn.Module):
        def forward(self, x):
            half = torch.ones(4, dtype=torch.float16)
            return torch.batch_norm(x, half, half, None, None, True, 0.1, 1e-5, True)

    found = failure(lambda: models.Holder(Direct())(LONE)).bnguard
    assert (found.layer, found.layer_type, found.code) == ("body", "functional", "RT103")


def test_the_line_of_a_functional_call_within_a_with_block() -> None:
    class Within(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return F.batch_norm(x, None, None, training=True)

    source = failure(lambda: Within()(LONE)).bnguard.source
    assert "F.batch_norm(x, None" in linecache.getline(source.file, source.line)


def test_another_refusal_beside_a_direct_call_is_not_ours() -> None:
    class Beside(nn.Module):
        def forward(self, x):
            x = torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, True)
            raise RuntimeError(OLD)

    assert not hasattr(failure(lambda: Beside()(torch.randn(2, 4))), "bnguard")


def test_a_lazy_layer() -> None:
    assert failure(lambda: models.Holder(nn.LazyBatchNorm1d())(LONE)).bnguard.layer == "body"


def test_a_functional_call_of_a_model() -> None:
    model = models.Deep()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    found = failure(lambda: torch.func.functional_call(model, weights, (LONE,))).bnguard
    assert found.layer == "blocks.0.norm"


def test_a_traced_graph() -> None:
    assert failure(lambda: torch.fx.symbolic_trace(models.Deep())(LONE)).bnguard.layer == "blocks.0.norm"


def test_frames_that_were_cleared_leave_the_words() -> None:
    try:
        models.Deep()(LONE)
    except ValueError as caught:
        error = caught
    traceback.clear_frames(error.__traceback__)
    found = bnguard.diagnose(error, models.Deep())
    assert (found.layer, found.place) == ("blocks.0.norm", "text")


def test_another_process(tmp_path) -> None:
    """An exception keeps its diagnosis when it is pickled on the way."""
    error = pickle.loads(pickle.dumps(failure(lambda: models.Deep()(LONE))))
    assert error.bnguard.layer == "blocks.0.norm"


# ------------------------------------------------------------------------------------- backward


def backward_that_fails(model: nn.Module, name: str, x: torch.Tensor, text: str = OLD):
    """Run a forward, and let the engine meet an error at the node of the named layer."""

    def refuse(*_: object) -> None:
        raise RuntimeError(text)

    def mark(module, args, output) -> None:
        output.grad_fn.register_prehook(refuse)

    handle = model.get_submodule(name).register_forward_hook(mark)
    loss = model(x).sum()
    handle.remove()
    return loss


@pytest.mark.parametrize("name", ["bn1", "bn2"])
@pytest.mark.parametrize("given", [True, False])
def test_backward(name: str, given: bool) -> None:
    model = models.Conv()
    loss = backward_that_fails(model, name, torch.randn(2, 3, 8, 8))
    error = failure(lambda: loss.backward(), model if given else None)
    found = error.bnguard
    assert (found.layer, found.place, found.code) == (name, "backward", "RT102")
    assert found.shape == ((2, 4, 8, 8) if name == "bn1" else (2, 6, 8, 8))
    assert "failed in backward" in " ".join(found.text().split())
    assert found.replays


def test_backward_finds_the_model_in_sight() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = models.Conv()

        def step(self) -> None:
            backward_that_fails(self.model, "bn2", torch.randn(2, 3, 8, 8)).backward()

    assert failure(lambda: Trainer().step()).bnguard.layer == "bn2"


def test_backward_through_torch_autograd_grad() -> None:
    model = models.Conv()
    loss = backward_that_fails(model, "bn1", torch.randn(2, 3, 8, 8))
    assert failure(lambda: torch.autograd.grad(loss, list(model.parameters()))).bnguard.layer == "bn1"


def test_backward_with_branches_and_frozen_weights() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False)

        def forward(self, x):
            return self.a(x) + self.b(x) * 2

    for name in ("a", "b"):
        model = Branches()
        loss = backward_that_fails(model, name, torch.randn(3, 4, requires_grad=True))
        assert failure(lambda loss=loss: loss.backward(), model).bnguard.layer == name


def test_backward_of_another_operation_is_not_ours() -> None:
    model = models.Conv()
    loss = backward_that_fails(model, "conv2", torch.randn(2, 3, 8, 8))
    assert not hasattr(failure(lambda: loss.backward(), model), "bnguard")


def test_a_kept_graph_leaves_candidates() -> None:
    model = models.Conv()
    loss = backward_that_fails(model, "bn1", torch.randn(2, 3, 8, 8))
    found = failure(lambda: loss.backward(retain_graph=True), model).bnguard
    assert (found.layer, found.candidates) == (None, ("bn1", "bn2"))


def test_backward_under_checkpointing_runs_no_forward_again() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = models.Checkpointed()
            self.last = nn.BatchNorm1d(4)

        def forward(self, x):
            return self.last(self.body(x))

    model = Both()
    loss = backward_that_fails(model, "last", torch.randn(3, 4, requires_grad=True))
    before = model.body.head.norm.num_batches_tracked.item()
    found = failure(lambda: loss.backward(), model).bnguard
    assert found.layer == "last"
    assert model.body.head.norm.num_batches_tracked.item() == before


# ------------------------------------------------------------------------------------- lost frames


@pytest.mark.parametrize(
    ("make", "name"), [(models.Deep, "blocks.0.norm"), (lambda: models.Holder(models.Functional()), "body")]
)
@pytest.mark.parametrize("given", [True, False])
def test_torch_compile(make, name: str, given: bool) -> None:
    model = make()
    compiled = torch.compile(model, backend="eager")
    error = failure(lambda: compiled(LONE), compiled if given else None)
    torch._dynamo.reset()
    assert error.bnguard.layer == name
    assert (error.bnguard.place, error.bnguard.code) == ("retrace", "RT101")
    assert (error.bnguard.shape, error.bnguard.dtype, error.bnguard.mode) == ((1, 4), "float32", "train")


def test_a_compiled_function() -> None:
    model = models.Deep()

    @torch.compile(backend="eager")
    def step(x: torch.Tensor) -> torch.Tensor:
        return model(x).sum()

    found = failure(lambda: step(LONE)).bnguard
    torch._dynamo.reset()
    assert "blocks.0.norm" in (found.layer, *found.candidates)


@pytest.mark.parametrize("training", [True, False])
def test_torch_compile_keeps_the_modes(training: bool) -> None:
    """A frozen layer of the same width in front is not the one."""
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[0].train(training)
    found = failure(lambda: torch.compile(model, backend="eager")(LONE)).bnguard
    torch._dynamo.reset()
    assert found.layer == ("0" if training else "2")


def test_torch_compile_leaves_the_model_alone() -> None:
    model = models.Deep()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    rng = torch.get_rng_state()
    failure(lambda: torch.compile(model, backend="eager")(LONE))
    torch._dynamo.reset()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


def script(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still in use
        return torch.jit.script(model)


def test_torchscript() -> None:
    model = script(models.Deep())
    found = failure(lambda: model(LONE)).bnguard
    assert (found.layer, found.place, found.shape) == ("blocks.0.norm", "text", (1, 4))


def test_torchscript_with_several_layers_that_fit_lists_them() -> None:
    model = script(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(5)))
    found = failure(lambda: model(LONE)).bnguard
    assert (found.layer, found.candidates) == (None, ("0", "2"))
    assert "it can be 0, 2" in found.text()


def through_wrapper(run) -> None:
    """Do as ``parallel_apply``: catch in a thread, raise the copy here."""
    from torch._utils import ExceptionWrapper

    caught = []

    def work() -> None:
        try:
            run()
        except Exception:
            caught.append(ExceptionWrapper(where="in replica 1 on device 1"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    caught[0].reraise()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (models.Named, "parts.b"),
        (lambda: nn.Sequential(models.Head(), models.Head()), "0.norm"),
        (models.Deep, "blocks.0.norm"),
    ],
)
def test_an_exception_copied_from_a_replica(make, name: str) -> None:
    model = make()
    error = failure(lambda: through_wrapper(lambda: model(LONE)), model)
    found = error.bnguard
    assert "Caught ValueError in replica 1" in str(error)
    assert name in (found.layer, *found.candidates)


def test_dataparallel_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its forward with three replicas, each a thread; only the devices are pretended."""
    model = models.Deep()
    parallel = nn.DataParallel(model)
    parallel.device_ids, parallel.src_device_obj = [0, 1, 2], torch.device("cpu")

    def scatter(inputs, kwargs, ids):
        return tuple((piece,) for piece in inputs[0].chunk(3)), tuple({} for _ in range(3))

    def apply(replicas, inputs, kwargs):
        for replica, args in zip(replicas, inputs, strict=True):
            if len(args[0]) == 1:
                through_wrapper(lambda replica=replica, args=args: replica(*args))

    monkeypatch.setattr(parallel, "scatter", scatter)
    monkeypatch.setattr(parallel, "replicate", lambda m, ids: [m] * 3)
    monkeypatch.setattr(parallel, "parallel_apply", apply)
    found = failure(lambda: parallel(torch.randn(3, 4))).bnguard
    assert found.layer == "blocks.0.norm"
    assert found.shape == (1, 4)


def test_a_guard_in_a_thread() -> None:
    caught = []

    def work() -> None:
        caught.append(failure(lambda: models.Deep()(LONE)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught[0].bnguard.layer == "blocks.0.norm"
