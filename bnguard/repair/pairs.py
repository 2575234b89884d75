"""Which Conv or Linear layer feeds which BatchNorm layer, and nothing else: seen in one forward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from bnguard.model.inputs import Arguments, map_tensors


class Flow(TorchFunctionMode):
    """Follows the outputs of feeders through one forward.

    Attributes:
        calls: how often each feeder and each norm was called.
        uses: how often an output of each feeder was used, by whichever function, or was given back by the model.
        fed_by: the feeder, or None, of each call of a norm.

    """

    def __init__(self, feeders: Sequence[nn.Module], norms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.calls: Counter[nn.Module] = Counter()
        self.uses: Counter[nn.Module] = Counter()
        self.fed_by: dict[nn.Module, list[nn.Module | None]] = {norm: [] for norm in norms}
        self._feeders = feeders
        self._maker: Any = WeakIdKeyDictionary()  # of each output that is alive, by identity

    def run(self, model: nn.Module, arguments: Arguments) -> Any:  # noqa: ANN401 - whatever the model returns
        """Run the model and return what it returns."""
        args, kwargs = arguments
        with self._watching(), self:
            result = model(*args, **kwargs)
        map_tensors(result, self._note_use)
        return result

    @contextmanager
    def _watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in self._feeders:
                stack.callback(module.register_forward_hook(self._note_output).remove)
            for module in self.fed_by:
                stack.callback(module.register_forward_pre_hook(self._note_input).remove)
            yield

    def _note_output(self, module: nn.Module, _args: object, output: object) -> None:
        self.calls[module] += 1
        if isinstance(output, Tensor):
            self._maker[output] = module

    def _note_input(self, module: nn.Module, args: tuple[object, ...]) -> None:
        self.calls[module] += 1
        self.fed_by[module].append(self._maker.get(args[0]) if args and isinstance(args[0], Tensor) else None)

    def _note_use(self, tensor: Tensor) -> Tensor:
        maker = self._maker.get(tensor)
        if maker is not None:
            self.uses[maker] += 1
        return tensor

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch's signature
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run the function; one that gives no tensor back, such as ``size()``, uses a shape and no value."""
        del types
        result = func(*args, **(kwargs or {}))
        if isinstance(result, (Tensor, tuple, list)) and not isinstance(result, torch.Size):
            map_tensors([list(args), kwargs or {}], self._note_use)
        return result
