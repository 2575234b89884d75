"""What to give to a model where nobody has said: parts of what its loader gives, else what the model declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bnguard._audit_loader.follow import NoSampleError, Sample, first_sample
from bnguard._audit_loader.summary import forward_sizes
from bnguard._errors import BnguardError
from bnguard._facts.loaders import LoaderFact, dimensions
from bnguard._facts.models import InputFact, Mode
from bnguard._forecast.outcomes import MOST_REAL_SAMPLES
from bnguard._models.guess import parameters
from bnguard._models.inputs import Arguments, Inputs, describe, map_tensors
from bnguard._trace.models import TraceableModel, first_that_runs, own_inputs
from bnguard._trace.trace import Progress
from bnguard._untouched import quiet
from bnguard._usercode import one_line

IN_PYTHON = ("inputs=", "(3, 224, 224)")
"""How the reader gives the input of a model: the word before it, and an example."""


class ResolvedInputs(NamedTuple):
    """A recipe and how it was found, or why there is none; ``assumption`` says what was guessed of it."""

    inputs: Inputs | None
    notes: tuple[str, ...] = ()
    unknown: str | None = None
    assumption: str | None = None


class InputResolver:
    """The inputs of one model, loader by loader; each loader gives one sample at most."""

    def __init__(self, progress: Progress, spelling: tuple[str, str] = IN_PYTHON) -> None:
        self._progress = progress
        self._word = spelling[0]
        self._give = f"give the input: {''.join(spelling)}, without the batch dimension"
        self._samples: dict[str, Sample | str] = {}
        self._own: dict[Mode | None, Inputs] = {}

    def find(self, model: TraceableModel, loader: LoaderFact, live: DataLoader[Any] | None) -> ResolvedInputs:
        """Return what the forward takes of the loader's first sample, else what the model or its file declares.

        ``live`` is the loader itself; None where it is given by numbers, and the input may be guessed then.
        """
        why = None
        if live is not None:
            found = self._sampled(model, loader, live)
            if isinstance(found, ResolvedInputs):
                return found
            why = found
        return self._declared(model, loader, why)

    def _sampled(self, model: TraceableModel, loader: LoaderFact, live: DataLoader[Any]) -> ResolvedInputs | str:
        """Return the first way to call the forward that runs, or why there is none."""
        if loader.name not in self._samples:
            self._samples[loader.name] = _sample_of(live)
        sample = self._samples[loader.name]
        if isinstance(sample, str):
            return f"no sample of {loader.name} could be had to learn the input: {sample}"
        try:
            with quiet():
                ways = list(_ways_to_call(model.tracer.model, sample))
        except Exception as error:  # noqa: BLE001 - the loader's own collate function may raise anything
            return f"the sample of {loader.name} could not be collated: {one_line(error)}"
        refused = None
        for size in _sizes_to_try(loader):
            for alike in ways:
                inputs, why = self._first_running(model, alike, size)
                if inputs is not None:
                    note = f"one sample of {loader.name} was fetched to learn the input: {inputs.shown()}"
                    return ResolvedInputs(inputs, (note,))
                refused = refused or why
        return f"{type(model.tracer.model).__name__} takes no part of the sample of {loader.name} ({refused})"

    def _first_running(
        self, model: TraceableModel, alike: list[SampledInputs], size: int
    ) -> tuple[SampledInputs | None, str | None]:
        found = first_that_runs(model.tracer, alike, size, self._progress)
        if found is None:
            return None, None
        inputs, trace = found
        return (inputs, None) if trace.error is None and isinstance(inputs, SampledInputs) else (None, trace.error_line)

    def _declared(self, model: TraceableModel, loader: LoaderFact, why: str | None) -> ResolvedInputs:
        try:
            inputs, error = self._own_inputs(model, next(iter(_sizes_to_try(loader))))
        except BnguardError as refused:
            return ResolvedInputs(None, (self._give,), why or refused.message)
        if inputs is not None and error is None and not (why and inputs.source == "assumed"):
            notes = tuple(_notes(why, inputs.facts(1), inputs.source, self._word))
            guessed = f"input {shown(inputs.facts(1))}" if inputs.source == "assumed" else None
            return ResolvedInputs(inputs, notes, assumption=guessed)
        return ResolvedInputs(None, (self._give,), why or f"no input was found that it takes ({error})")

    def _own_inputs(self, model: TraceableModel, size: int) -> tuple[Inputs | None, str | None]:
        """Return what the model takes of itself and the error with it; what once ran is not looked for again."""
        mode = model.tracer.mode
        if mode in self._own:
            return self._own[mode], None
        inputs, trace = own_inputs(model, size, self._progress)
        if inputs is not None and trace.error is None:
            self._own[mode] = inputs
        return inputs, trace.error_line


def _notes(why: str | None, facts: tuple[InputFact, ...], source: str, word: str) -> Iterator[str]:
    if why:
        yield why
    how = f"assumed: no loader was there to ask; {word}… gives yours" if source == "assumed" else f"from {source}"
    yield f"input {shown(facts)}, {how}"


def _sample_of(live: DataLoader[Any]) -> Sample | str:
    try:
        with quiet():
            return first_sample(live)
    except NoSampleError as error:
        return str(error)


def _sizes_to_try(loader: LoaderFact) -> tuple[int, ...]:
    """Return the size of most batches, then two: at one sample a forward may fail where others do not."""
    known = {n for s in loader.streams for n in forward_sizes(s)}
    size = max(known, default=loader.batch_size or 2)
    return tuple(dict.fromkeys((max(1, min(size, MOST_REAL_SAMPLES)), 2)))


Select = Callable[[Any], Arguments]
"""From a batch of any size to the arguments of the forward."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Wanted(NamedTuple):
    """What a forward can be called with."""

    positional: int
    required: tuple[str, ...]
    names: tuple[str, ...]
    any_position: bool
    any_name: bool

    @classmethod
    def by(cls, forward: Callable[..., Any]) -> Wanted:
        """Read the signature; one positional argument where Python cannot tell."""
        found = parameters(forward)
        kinds = [p.kind for p in found.values()]
        return cls(
            positional=sum(kind in _POSITIONAL for kind in kinds) if found else 1,
            required=tuple(n for n, p in found.items() if p.default is p.empty and p.kind in (*_POSITIONAL, *_BY_NAME)),
            names=tuple(n for n, p in found.items() if p.kind in _BY_NAME),
            any_position=inspect.Parameter.VAR_POSITIONAL in kinds,
            any_name=inspect.Parameter.VAR_KEYWORD in kinds,
        )


def selections(batch: Any, wanted: Wanted) -> Iterator[Select]:  # noqa: ANN401 - whatever a collate function makes
    """Yield ways to call the forward with this batch.

    ``(x, y)`` for ``forward(x)`` gives x, ``(a, b, y)`` for ``forward(a, b)`` gives a and b, a dict gives the keys that
    the forward names, and anything else is given whole.
    """
    if isinstance(batch, Mapping):
        yield from _of_mapping(batch, wanted)
    elif isinstance(batch, (tuple, list)):
        yield from _of_sequence(batch, wanted)
    else:
        yield _whole
        if isinstance(batch, Tensor):
            return
        if wanted.required and all(hasattr(batch, n) for n in wanted.required):
            yield lambda b: ((), {n: getattr(b, n) for n in wanted.required})
        count = max(1, len(wanted.required))
        if len(_tensors_of(batch)) >= count:
            yield lambda b: (_tensors_of(b)[:count], {})


def _whole(batch: Any) -> Arguments:  # noqa: ANN401 - whatever a collate function makes
    return (batch,), {}


def _tensors_of(batch: object) -> tuple[Tensor, ...]:
    """Return the attributes of an object that are tensors, in the order in which they were set."""
    return tuple(value for value in getattr(batch, "__dict__", {}).values() if isinstance(value, Tensor))


def _first(count: int) -> Select:
    return lambda batch: (tuple(batch[:count]), {})


def _inside_first(inner: Select, batch: Any) -> Arguments:  # noqa: ANN401 - whatever a collate function makes
    return inner(batch[0])


def _of_mapping(batch: Mapping[Any, Any], wanted: Wanted) -> Iterator[Select]:
    named = tuple(k for k in batch if k in wanted.names)
    if named and set(wanted.required) <= set(named):
        yield lambda b: ((), {k: b[k] for k in named})
    yield _whole
    count = max(1, len(wanted.required))
    yield lambda b: (tuple(b.values())[:count], {})
    if wanted.any_name:
        yield lambda b: ((), dict(b))


def _of_sequence(batch: tuple[Any, ...] | list[Any], wanted: Wanted) -> Iterator[Select]:
    least = max(1, len(wanted.required))
    most = len(batch) if wanted.any_position else wanted.positional
    for count in range(least, min(len(batch), most) + 1):
        yield _first(count)
    yield _whole
    if batch and isinstance(batch[0], (tuple, list, Mapping)):
        for inner in selections(batch[0], wanted):
            yield partial(_inside_first, inner)


Change = Callable[[Tensor], Tensor]


class _OtherStructureError(Exception):
    """Batches of one and of two samples differ in more than the sizes of their tensors."""


@dataclass(frozen=True)
class SampledInputs:
    """What a forward gets of a batch that holds one sample of a loader as often as is asked.

    Shapes of any batch size follow from the batches of one and of two samples: whichever dimension grows between
    them is the batch's, and it may grow by more than one a sample.
    """

    sample: Sample
    select: Select
    change: Change
    how: str = ""
    source: str = "sample"
    _ends: list[Arguments] = field(default_factory=list, repr=False)

    @property
    def needs_values(self) -> bool:
        """Whether the arguments hold objects, such as graphs, whose tensors cannot be reached."""
        return any(map(is_opaque, self._values()))

    @property
    def own_rows(self) -> int | None:
        """How many rows this sample has, where each has a number of its own: the nodes of a graph; else None."""
        batch = self.sample.batch(1)
        nodes = getattr(batch, "num_nodes", None) if is_opaque(batch) else None
        return nodes if isinstance(nodes, int) else None

    def make(self, batch_size: int, device: str) -> Arguments:
        """Return shapes on ``meta``; on the CPU what the collate function makes of the repeated sample."""
        if device == "meta":
            try:
                grown: Arguments = _grown(self._end(1), self._end(2), batch_size)
            except _OtherStructureError:
                return _moved(self._collated(batch_size), device)
            return grown
        return _moved(self._collated(batch_size), device)

    def facts(self, batch_size: int) -> tuple[InputFact, ...]:
        """Describe every tensor within the arguments."""
        return describe(self.make(batch_size, "meta"), self.source)

    def shown(self) -> str:
        """Return the input without its batch dimension, as people write it."""
        return shown_inputs(self.facts(1), self._values()) + self.how

    def _values(self) -> tuple[Any, ...]:
        args, kwargs = self._end(1)
        return (*args, *kwargs.values())

    def _collated(self, batch_size: int) -> Arguments:
        args, kwargs = self.select(self.sample.batch(batch_size))
        changed: Arguments = map_tensors(args, self.change), map_tensors(kwargs, self.change)
        return changed

    def _end(self, batch_size: int) -> Arguments:
        while len(self._ends) < batch_size:
            self._ends.append(self._collated(len(self._ends) + 1))
        return self._ends[batch_size - 1]


def _ways_to_call(model: nn.Module, sample: Sample) -> Iterator[list[SampledInputs]]:
    """Yield lists of inputs to try, the plainest list first."""
    for ways in ways_to_call(model, sample.batch(1)):
        yield [SampledInputs(sample, *way) for way in ways]


def ways_to_call(model: nn.Module, batch: object) -> Iterator[list[tuple[Select, Change, str]]]:
    """Yield lists of what can be given of a batch and how it is changed: not, to the model's dtype, flattened.

    The latter two stand for what training loops do to a batch: ``x.float()``, ``x.view(len(x), -1)``.
    """
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    word = str(dtype).removeprefix("torch.")
    ways = tuple(selections(batch, Wanted.by(model.forward)))
    for change, how in (
        (_as_it_is, ""),
        (partial(_cast, dtype=dtype), f", taken as {word}"),
        (partial(_flat, dtype=dtype), ", flattened"),
    ):
        yield [(way, change, how) for way in ways]


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() or tensor.dtype is torch.uint8 else tensor


def _flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = _cast(tensor, dtype)
    return cast.flatten(1) if cast.dim() > 2 else cast


def _grown(one: Any, two: Any, size: int) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Return meta tensors of the shapes at ``size`` samples, from those at one and at two."""
    if isinstance(one, Tensor) and isinstance(two, Tensor) and one.dim() == two.dim():
        shape = [a + (b - a) * (size - 1) for a, b in zip(one.shape, two.shape, strict=True)]
        return torch.empty(shape, dtype=one.dtype, device="meta")
    if type(one) is not type(two) or is_opaque(one):
        raise _OtherStructureError
    if isinstance(one, Mapping) and one.keys() == two.keys():
        return {k: _grown(v, two[k], size) for k, v in one.items()}
    if isinstance(one, (tuple, list)) and len(one) == len(two):
        parts = [_grown(a, b, size) for a, b in zip(one, two, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else type(one)(parts)
    if isinstance(one, (Tensor, Mapping, tuple, list)) or one != two:
        raise _OtherStructureError
    return one


def is_opaque(value: object) -> bool:
    """Whether this is an object of a class of its own, such as a batch of graphs."""
    plain = (Tensor, Mapping, tuple, list, str, bytes, int, float, complex, type(None))
    return not isinstance(value, plain)


def shown_inputs(facts: Sequence[InputFact], values: Sequence[object]) -> str:
    """Return tensors as people write them, else the objects that hold them."""
    opaque = [f"a {type(v).__name__}" for v in values if is_opaque(v)]
    return ", ".join([words(fact) for fact in facts] or opaque or ["no tensor"])


def _moved(arguments: Arguments, device: str) -> Arguments:
    args, kwargs = arguments
    moved: Arguments = (map_tensors(args, lambda t: t.to(device)), map_tensors(kwargs, lambda t: t.to(device)))
    return moved


def shown(facts: Iterable[InputFact]) -> str:
    """Return several inputs as people write them."""
    return ", ".join(map(words, facts))


def words(fact: InputFact) -> str:
    """Return a tensor's name, shape without the batch dimension, and dtype, as people write them."""
    name = f"{fact.name}=" if fact.name else ""
    shape = dimensions(fact.shape[1:]) or "one value"
    return f"{name}{shape}" + ("" if fact.dtype == "float32" else f" {fact.dtype}")
