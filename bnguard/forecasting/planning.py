"""The settings of a forecast, applied to any number of models: which loaders feed them, and with what inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnguard.forecasting.feeds import Feed, foresee
from bnguard.forecasting.finding_inputs import IN_PYTHON, InputsOf
from bnguard.forecasting.given_loaders import OneLoader
from bnguard.forecasting.reporting import Forecast
from bnguard.model.guess import as_wanted
from bnguard.model.inputs import Inputs
from bnguard.model.opened import Opened
from bnguard.model.trace import Progress


@dataclass(frozen=True)
class Plan:
    """The settings of one forecast.

    Attributes:
        inputs: of every model; None where its loaders, or the model itself, are to say.
        loaders: that feed each model, in the order of the forecasts.
        keep_modes: leave the training flag of every module as it is for training loaders.
        device: whose batch_norm backend to predict.
        progress: told before something slow.
        spelling: how the reader gives an input, in notes.

    """

    inputs: Inputs | None
    loaders: Sequence[OneLoader]
    keep_modes: bool
    device: str
    progress: Progress
    spelling: tuple[str, str] = IN_PYTHON

    def of(self, model: Opened) -> Iterator[Forecast]:
        """Forecast one model on every loader."""
        return foresee(model, self._feeds(model), self.device, self.progress)

    def _feeds(self, model: Opened) -> Iterator[Feed]:
        found = InputsOf(self.progress, self.spelling)
        given = () if self.inputs is None else (as_wanted(model.subject.model, self.inputs),)
        for loader in self.loaders:
            called = None if self.keep_modes and loader.fact.mode == "train" else loader.fact.mode
            if loader.fact.steps == 0:
                yield Feed(loader.fact, (), called)
                continue
            if given:
                yield Feed(loader.fact, given, called)
                continue
            model.subject.set_mode(called)
            its = found.find(model, loader.fact, loader.live)
            calls = () if its.inputs is None else (its.inputs,)
            yield Feed(loader.fact, calls, called, its.notes, its.unknown)
