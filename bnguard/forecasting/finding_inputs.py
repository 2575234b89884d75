"""What to give to a model where nobody has said: what its loader gives, else what the model declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from bnguard.errors import BnguardError
from bnguard.facts import InputFact, Mode
from bnguard.forecasting.outcomes import MOST_REAL_SAMPLES
from bnguard.forecasting.sampled import SampledInputs, ways_to_call, words
from bnguard.loader.sample import NoSampleError, Sample, first_sample
from bnguard.loader.summary import forward_sizes
from bnguard.loader_facts import LoaderFact
from bnguard.model.fitting import first_that_runs, own_inputs
from bnguard.model.inputs import Inputs
from bnguard.model.opened import Opened
from bnguard.model.trace import Progress
from bnguard.untouched import quiet
from bnguard.usercode import one_line

IN_PYTHON = ("inputs=", "(3, 224, 224)")
"""How the reader gives the input of a model: the word before it, and an example."""


class FoundInputs(NamedTuple):
    """A recipe and how it was found, or why there is none."""

    inputs: Inputs | None
    notes: tuple[str, ...] = ()
    unknown: str | None = None


class InputsOf:
    """The inputs of one model, loader by loader; each loader gives one sample at most."""

    def __init__(self, progress: Progress, spelling: tuple[str, str] = IN_PYTHON) -> None:
        self._progress = progress
        self._word = spelling[0]
        self._give = f"give the input: {''.join(spelling)}, without the batch dimension"
        self._samples: dict[str, Sample | str] = {}
        self._own: dict[Mode | None, Inputs] = {}

    def find(self, model: Opened, loader: LoaderFact, live: DataLoader[Any] | None) -> FoundInputs:
        """Return what the forward takes of the loader's first sample, else what the model or its file declares.

        Args:
            model: in the mode in which it is to be forecast.
            loader: as audited.
            live: the loader itself; None where it is given by numbers, and the input may be guessed then.

        """
        why = None
        if live is not None:
            found = self._sampled(model, loader, live)
            if isinstance(found, FoundInputs):
                return found
            why = found
        return self._declared(model, loader, why)

    def _sampled(self, model: Opened, loader: LoaderFact, live: DataLoader[Any]) -> FoundInputs | str:
        """Return the first way to call the forward that runs, or why there is none."""
        if loader.name not in self._samples:
            self._samples[loader.name] = _sample_of(live)
        sample = self._samples[loader.name]
        if isinstance(sample, str):
            return f"no sample of {loader.name} could be had to learn the input: {sample}"
        try:
            with quiet():
                ways = list(ways_to_call(model.subject.model, sample))
        except Exception as error:  # noqa: BLE001 - the loader's own collate function may raise anything
            return f"the sample of {loader.name} could not be collated: {one_line(error)}"
        refused = None
        for size in _sizes_to_try(loader):
            for alike in ways:
                inputs, why = self._first_running(model, alike, size)
                if inputs is not None:
                    said = f"one sample of {loader.name} was fetched to learn the input: {inputs.shown()}"
                    return FoundInputs(inputs, (said,))
                refused = refused or why
        return f"{type(model.subject.model).__name__} takes no part of the sample of {loader.name} ({refused})"

    def _first_running(
        self, model: Opened, alike: list[SampledInputs], size: int
    ) -> tuple[SampledInputs | None, str | None]:
        found = first_that_runs(model.subject, alike, size, self._progress)
        if found is None:
            return None, None
        inputs, trace = found
        return (inputs, None) if trace.error is None and isinstance(inputs, SampledInputs) else (None, trace.error_line)

    def _declared(self, model: Opened, loader: LoaderFact, why: str | None) -> FoundInputs:
        try:
            inputs, error = self._own_inputs(model, next(iter(_sizes_to_try(loader))))
        except BnguardError as refused:
            return FoundInputs(None, (self._give,), why or refused.message)
        if inputs is not None and error is None and not (why and inputs.source == "assumed"):
            return FoundInputs(inputs, tuple(_said(why, inputs.facts(1), inputs.source, self._word)))
        return FoundInputs(None, (self._give,), why or f"no input was found that it takes ({error})")

    def _own_inputs(self, model: Opened, size: int) -> tuple[Inputs | None, str | None]:
        """Return what the model takes of itself and the error with it; what once ran is not looked for again."""
        mode = model.subject.mode
        if mode in self._own:
            return self._own[mode], None
        inputs, trace = own_inputs(model, size, self._progress)
        if inputs is not None and trace.error is None:
            self._own[mode] = inputs
        return inputs, trace.error_line


def _said(why: str | None, shown: tuple[InputFact, ...], source: str, word: str) -> Iterator[str]:
    if why:
        yield why
    how = f"assumed: no loader was there to ask; {word}… gives yours" if source == "assumed" else f"from {source}"
    yield f"input {', '.join(map(words, shown))}, {how}"


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
