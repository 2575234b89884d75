"""BatchNorm folded into the Conv or Linear layer before it, for inference: one layer less and nothing to break."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from bnguard import _private_torch as private
from bnguard._errors import InputError, RepairError
from bnguard._models.inputs import Arguments, Inputs, SpecInputs, TensorSpec, as_recipe, map_tensors
from bnguard._models.layers import WEIGHTED, Layer
from bnguard._models.wrappers import module_named, unwrap
from bnguard._scan.scanner import scan
from bnguard._trace.copies import copy_for_trace
from bnguard._untouched import untouched_process
from bnguard._usercode import one_line
from bnguard.repair._apply import Only, batch_norm_layers, label, lost_dimension, put
from bnguard.repair._replace import why_irreplaceable

_BATCH_SIZE = 2
"""Of the random inputs that the two models are compared with."""

_TOLERANCE = 1e-3
"""A difference above this share of the largest output is no rounding: the layers did not belong together."""


@dataclass(frozen=True)
class Fusion:
    """A copy of a model for inference.

    Attributes:
        model: the copy, in eval mode.
        fused: dotted names of each pair: the Conv or Linear layer, and the BatchNorm layer folded into it.
        skipped: dotted names of the BatchNorm layers that are still there, and why.
        max_difference: the largest absolute difference between the outputs of the two models, measured.
        largest_output: the largest absolute value among the outputs, to compare that with.

    """

    model: nn.Module
    fused: tuple[tuple[str, str], ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    max_difference: float = 0.0
    largest_output: float = 0.0

    def __str__(self) -> str:
        size = f"outputs differ by {self.max_difference:.1e} at most, of {self.largest_output:.3g}"
        lines = [f"fuse: {len(self.fused)} BatchNorm layer{'s' * (len(self.fused) != 1)} folded; {size}"]
        return "\n".join([*lines, *(f"  left as it is: {label(name)}: {why}" for name, why in self.skipped.items())])


def fuse(
    model: nn.Module,
    *,
    only: Only = None,
    inputs: Any = None,  # noqa: ANN401 - see bnguard.scan
    verify: bool = True,
) -> Fusion:
    """Return a copy for inference with each BatchNorm folded into the Conv or Linear layer that alone feeds it.

    Which layers belong together is seen in a forward in eval mode, so that any model that runs will do. Transposed and
    grouped convolutions and layers without a bias are folded too; fused activations stay. Layers that are used more
    than once are left as they are, with the reason.

    Args:
        model: stays as it is; a wrapper such as DataParallel is left out of the copy.
        only: BatchNorm layers, or modules above them, by dotted name or pattern; None for all.
        inputs: what both models are compared with, as for :func:`bnguard.scan`: tensors for real values, a shape for
            random ones, None for random ones of a shape that the model declares or that is guessed.
        verify: raise if the outputs differ by more than rounding, or if one sample in eval mode would still fail.

    Raises:
        InputError: no inputs are given, and none could be found.
        RepairError: verification failed, or no layer could be folded.

    """
    inner = unwrap(model)
    layers = batch_norm_layers(inner, only)
    copied = _copy(inner)
    if not layers:
        return Fusion(copied, ())
    arguments = _arguments(inner, inputs)
    with untouched_process(), torch.no_grad():
        before, found, skipped = _find_pairs(copied, batch_norm_layers(copied, only), arguments)
        if not found:
            first, why = next(iter(skipped.items()))
            raise RepairError(f"fuse folded nothing: {label(first)} {why}")
        names = {module: name for name, module in reversed(list(copied.named_modules()))}
        pairs = tuple((names[feeder], layer.name) for layer, feeder in found.items())
        for layer, feeder in found.items():
            _fold(copied, layer, feeder)
        args, kwargs = _fresh(arguments)
        after = copy_for_trace(copied, "shared").eval()(*args, **kwargs)
    difference, largest = _compare(before, after)
    if verify:
        _verify(copied, inputs, difference, largest)
    return Fusion(copied, pairs, skipped, difference, largest)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model).eval()
    except Exception as error:
        raise RepairError(
            f"{type(model).__name__} cannot be copied: {one_line(error)}",
            hint="a tensor that is an attribute and has a gradient's history is the usual reason: detach it",
        ) from error


def _fresh(arguments: Arguments) -> Arguments:
    """Return copies: a forward may write into what it is given."""
    args, kwargs = arguments
    return map_tensors(args, Tensor.clone), map_tensors(kwargs, Tensor.clone)


def _arguments(model: nn.Module, inputs: Any) -> Arguments:  # noqa: ANN401 - see bnguard.scan
    """Return the arguments of a forward, on the model's device and in its dtype."""
    recipe = as_recipe(inputs) or _find_inputs(model)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))

    def place(t: Tensor) -> Tensor:
        return t.to(like.device, like.dtype) if t.is_floating_point() else t.to(like.device)

    with untouched_process():
        torch.manual_seed(0)
        args, kwargs = recipe.make(_BATCH_SIZE, "cpu")
    return map_tensors(args, place), map_tensors(kwargs, place)


def _find_inputs(model: nn.Module) -> Inputs:
    fact = scan(model, batch_size=_BATCH_SIZE, mode="eval").models[0]
    if fact.method == "none" or fact.trace_error or not fact.inputs:
        raise InputError(
            f"no input was found that {fact.cls} takes" + (f" ({fact.trace_error})" if fact.trace_error else ""),
            hint="give one: fuse(model, inputs=(3, 224, 224))",
        )
    specs = tuple(TensorSpec(i.shape[1:], getattr(torch, i.dtype), i.name) for i in fact.inputs)
    return SpecInputs(specs, fact.inputs[0].source)


# ------------------------------------------------------------------------------------------ which belong together


def _find_pairs(
    model: nn.Module, layers: list[Layer], arguments: Arguments
) -> tuple[Any, dict[Layer, nn.Module], dict[str, str]]:
    """Return the model's outputs, the feeder of each layer that can be folded, and why the others cannot."""
    running = copy_for_trace(model, "shared").eval()
    weighted = [(name, module) for name, module in model.named_modules() if isinstance(module, WEIGHTED)]
    original = {running.get_submodule(name): module for name, module in weighted}
    norms = {layer: module_named(running, layer.name) for layer in layers}
    flow = _Flow(list(original), list(norms.values()))
    try:
        before = flow.run(running, _fresh(arguments))
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} does not take these inputs: {one_line(error)}",
            hint="give what it takes: fuse(model, inputs=(3, 224, 224)), without the batch dimension",
        ) from error
    found: dict[Layer, nn.Module] = {}
    skipped: dict[str, str] = {}
    for layer, norm in norms.items():
        feeders = flow.fed_by[norm]
        why = _why_not(layer, flow, feeders)
        if why is None and feeders[0] is not None:
            found[layer] = original[feeders[0]]
        elif why is not None:
            skipped[layer.name] = why
    return before, found, skipped


def _why_not(layer: Layer, flow: _Flow, feeders: list[nn.Module | None]) -> str | None:
    feeder = feeders[0] if feeders else None
    reasons = (
        (not layer.track_running_stats, "keeps no running statistics, so that there is nothing to fold"),
        (not feeders, "is not reached by the forward"),
        (len(feeders) > 1, "is used more than once"),
        (feeder is None, "follows no Conv or Linear layer"),
        (feeder is not None and flow.calls[feeder] > 1, "follows a layer that is used more than once"),
        (feeder is not None and flow.uses[feeder] > 1, "follows a layer whose output is used elsewhere too"),
        (
            feeder is not None and not _has_plain_weight(feeder),
            "follows a layer that computes its weight in a way of its own",
        ),
    )
    return next((why for applies, why in reasons if applies), None) or why_irreplaceable(layer)[0]


def _has_plain_weight(feeder: nn.Module) -> bool:
    own_forward = any(isinstance(feeder, kind) and type(feeder).forward is kind.forward for kind in WEIGHTED)
    return own_forward and not private.is_parametrised(feeder)


# ------------------------------------------------------------------------------------- whether the outputs are the same


def _compare(before: Any, after: Any) -> tuple[float, float]:  # noqa: ANN401 - whatever the model returns
    tensors = zip(_tensors_in(before), _tensors_in(after), strict=True)
    pairs = [(a.double(), b.double()) for a, b in tensors if a.is_floating_point() and a.numel()]
    difference = max((float((a - b).abs().max()) for a, b in pairs), default=0.0)
    return difference, max((float(a.abs().max()) for a, _ in pairs), default=0.0)


def _tensors_in(value: Any) -> list[Tensor]:  # noqa: ANN401 - whatever the model returns
    """Return its tensors; dataclasses, such as the outputs of transformers, are looked into."""
    fields = hasattr(value, "__dict__") and not isinstance(value, (Tensor, dict))
    found: list[Tensor] = []
    map_tensors(dict(vars(value)) if fields else value, lambda t: found.append(t) or t)  # type: ignore[func-returns-value]
    return found


def _verify(model: nn.Module, inputs: Any, difference: float, largest: float) -> None:  # noqa: ANN401
    if not difference <= _TOLERANCE * max(largest, 1.0):  # NaN is no agreement either
        raise RepairError(
            f"the fused model's outputs differ by {difference:.2e} (the largest output is {largest:.3g})",
            hint="leave out the layers in question with only=…, or look at the copy with verify=False",
        )
    fact = scan(model, inputs, batch_size=1, mode="eval").models[0]
    failing = next((x for x in fact.layers if x.verdict == "fails" and x.name == fact.first_failure), None)
    if failing is None:
        return
    if failing.reason and not failing.calls:
        raise lost_dimension(f"after fuse, {label(failing.name)} ({failing.type})", failing.reason)
    raise RepairError(
        f"{label(failing.name)} still fails on one sample in eval mode: it keeps no running statistics to fold",
        hint="train it with track_running_stats=True",
    )


# ---------------------------------------------------- the arithmetic of a BatchNorm that is part of the layer before it


def _fold(model: nn.Module, layer: Layer, feeder: Any) -> None:  # noqa: ANN401 - a Conv or Linear
    """Scale the feeder's weight, shift its bias, and leave in the layer's place what it held besides."""
    norm: Any = layer.module
    weight, bias = folded(feeder, norm)
    feeder.weight = nn.Parameter(weight, feeder.weight.requires_grad)
    feeder.bias = nn.Parameter(bias, feeder.weight.requires_grad)
    _, children = why_irreplaceable(layer)
    rest = nn.Sequential(OrderedDict(children)).eval() if children else nn.Identity()
    put(model, layer, rest, ExitStack())


def folded(feeder: Any, norm: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - a Conv or Linear, a BatchNorm
    """Return weight and bias of the feeder with the norm folded in.

    ``weight * scale`` and ``(bias - mean) * scale + shift`` with ``scale = gamma / sqrt(var + eps)``, in double
    precision, so that rounding happens once. ``torch.nn.utils.fusion`` computes in the dtype of the weights, and not
    for grouped transposed convolutions, whose output channels are spread over the groups.
    """
    weight = feeder.weight.detach().double()
    sigma = torch.sqrt(norm.running_var.double() + norm.eps)
    scale = (torch.ones_like(sigma) if norm.weight is None else norm.weight.detach().double()) / sigma
    shift = torch.zeros_like(sigma) if norm.bias is None else norm.bias.detach().double()
    bias = torch.zeros_like(sigma) if feeder.bias is None else feeder.bias.detach().double()
    if getattr(feeder, "transposed", False):  # (in, out / groups, …), the groups one after the other along `in`
        grouped = weight.unflatten(0, (feeder.groups, -1))
        by_group = scale.view(feeder.groups, 1, -1, *(1 for _ in weight.shape[2:]))
        scaled = (grouped * by_group).flatten(0, 1)
    else:
        scaled = weight * scale.view(-1, *(1 for _ in weight.shape[1:]))
    dtype = feeder.weight.dtype
    return scaled.to(dtype), ((bias - norm.running_mean.double()) * scale + shift).to(dtype)


# --------------------------------------------------------------- which Conv or Linear layer feeds which BatchNorm layer


class _Flow(TorchFunctionMode):
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
