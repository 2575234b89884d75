"""The same batches through a model again and again, with an ear at some of its BatchNorm layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bnguard import _private_torch as private
from bnguard._errors import RepairError, UsageError
from bnguard._forecast.inputs import ways_to_call
from bnguard._models.inputs import map_tensors
from bnguard._models.layers import Layer, norms, running_statistics
from bnguard._untouched import random_states_kept
from bnguard._usercode import one_line
from bnguard.repair._apply import label
from bnguard.repair._statistics.moments import Moments

Forward = Callable[[nn.Module, Any], object]
"""Calls the model with one batch as it came from the loader; what it returns is not looked at."""


class Batches:
    """The batches of a loader, the same in every pass.

    A few of them are held. A whole loader is read anew each time, with the same random numbers, so that it shuffles and
    augments alike; an iterator, which can be read once alone, is held too.
    """

    def __init__(self, loader: Iterable[Any], most: int | None) -> None:
        kind = type(loader)
        if not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")):
            raise UsageError(f"{kind.__name__} gives no batches", hint="give a DataLoader or a list of batches")
        if most is not None and (type(most) is not int or most < 1):
            raise UsageError(f"batches={most!r} is no number of batches", hint="give 1 or more, or None for all")
        self._loader: Iterable[Any] = loader
        if most is not None or isinstance(loader, Iterator):
            with _repeatable(loader):
                self._loader = list(islice(iter(loader), most))

    @contextmanager
    def read(self) -> Iterator[Iterator[Any]]:
        """Yield an iterator over the batches; random states are put back at the end."""
        with _repeatable(self._loader):
            yield iter(self._loader)


@contextmanager
def _repeatable(loader: object) -> Iterator[None]:
    """Put back the random states, those of the loader's own generators too."""
    cut = getattr(loader, "batch_sampler", None)
    places = (loader, getattr(loader, "sampler", None), cut, getattr(cut, "sampler", None))
    found = {id(g): g for p in places if isinstance(g := getattr(p, "generator", None), torch.Generator)}
    with ExitStack() as stack:
        stack.enter_context(random_states_kept())
        for generator in found.values():
            stack.callback(generator.set_state, generator.get_state())
        yield


class _HeardAll(BaseException):
    """Ends a forward whose rest nobody needs; no ``except Exception`` of the model's may hold it up."""


class _Ear(TorchFunctionMode):
    """Is told of each call that normalises with the running statistics of one of these layers."""

    def __init__(self, layers: Sequence[Layer], heard: Callable[[Layer, Tensor], None]) -> None:
        super().__init__()
        self._owners = {id(pair[0]): x for x in layers if (pair := running_statistics(x.module)) is not None}
        self._functions = norms().functions
        self._heard = heard

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Tell of the call, then make it."""
        bound = self._functions.get(func)
        if bound is not None:
            call = bound.call(args, kwargs or {})
            owner = self._owners.get(id(call.tensors.get("running_mean")))
            if owner is not None:
                self._heard(owner, call.input)
        return func(*args, **(kwargs or {}))


class Passes:
    """Runs the batches through a model that is in eval mode.

    Args:
        model: without wrappers such as DistributedDataParallel, whose forward waits for other ranks.
        batches: what it is given.
        forward: how; None to find it out on the first batch.

    """

    def __init__(self, model: nn.Module, batches: Batches, forward: Forward | None) -> None:
        self._model, self._batches, self._forward = model, batches, forward
        self._device = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
        self.count = 0

    def calls(self, layers: Sequence[Layer]) -> dict[Layer, int]:
        """Run the first batch; return how often it calls each layer, in the order of their first calls.

        Raises:
            RepairError: there is no batch, or none of its parts is what the model takes.

        """
        found: dict[Layer, int] = {}

        def heard(layer: Layer, _: Tensor) -> None:
            found[layer] = found.get(layer, 0) + 1

        with self._batches.read() as batches:
            first = list(islice(batches, 1))
        if not first:
            raise RepairError("the loader gives no batch: there is nothing to take statistics of")
        refused: Exception | None = None
        for way in [self._forward] if self._forward else self._ways(first[0]):
            found.clear()
            try:
                with _Ear(layers, heard):
                    way(self._model, self._placed(first[0]))
            except Exception as error:
                if self._forward:
                    raise
                refused = refused or error
            else:
                self._forward = way
                return found
        raise RepairError(
            f"{type(self._model).__name__} takes no part of the first batch ({one_line(refused) if refused else '?'})",
            hint="say how it is called: forward=lambda model, batch: model(batch[0])",
        ) from refused

    def moments(self, layers: Mapping[Layer, int]) -> dict[Layer, Moments]:
        """Return the moments of what the layers are given, over all batches.

        Args:
            layers: with the number of calls in a forward: it is left after the only call of an only layer.

        Raises:
            RepairError: what a layer is given holds NaN or infinity.

        """
        found: dict[Layer, Moments] = {}
        faulty: list[Layer] = []
        assert self._forward is not None, "calls() has found it"
        alone = sum(layers.values()) == 1

        def heard(layer: Layer, x: Tensor) -> None:
            if not x.numel():
                return
            new = Moments.of(x)
            found[layer] = found[layer] + new if layer in found else new
            if not new.finite:
                faulty.append(layer)
            if alone or faulty:
                raise _HeardAll

        self.count = 0
        with self._batches.read() as batches:
            for batch in batches:
                self.count += 1
                with suppress(_HeardAll), _Ear(list(layers), heard):
                    self._forward(self._model, self._placed(batch))
                if faulty:
                    raise _not_finite(self.count, faulty[0])
        return found

    def _ways(self, batch: object) -> Iterator[Forward]:
        for alike in ways_to_call(self._model, batch):
            for select, change, _ in alike:

                def way(model: nn.Module, batch: object, select: Any = select, change: Any = change) -> object:  # noqa: ANN401
                    args, kwargs = map_tensors(select(batch), change)
                    return model(*args, **kwargs)

                yield way

    def _placed(self, batch: Any) -> Any:  # noqa: ANN401 - whatever a loader gives
        moved = map_tensors(batch, lambda t: t.to(self._device))
        if moved is batch and callable(getattr(batch, "to", None)):  # graphs, encodings
            return batch.to(self._device)
        return moved


def _not_finite(number: int, layer: Layer) -> RepairError:
    return RepairError(
        f"batch {number} brings NaN or infinity to {label(layer.name)} ({layer.type}), of which no statistics can be "
        "taken; nothing was changed",
        hint="look at that batch, or at the weights of the layers before",
    )


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Put all of a model in eval mode, without gradients, nothing compiled; modes are put back at the end."""
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad(), private.compiled_code_runs_eagerly():
        try:
            for module in modes:
                module.training = False  # train() may be a user's own, and do more
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
