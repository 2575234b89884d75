"""How training comes to stop, as a code flow: the loader, the step of the epoch, the layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnguard._facts.loaders import runs_text
from bnguard._report.formats.sarif.parts import message, physical

if TYPE_CHECKING:
    from bnguard._facts.findings import Finding, Report
    from bnguard._facts.forecasts import ForecastFact
    from bnguard._facts.loaders import LoaderFact
    from bnguard._report.places import FileLocation, Places


class Flows:
    """The forecasts that stop, found by the findings that say so."""

    def __init__(self, report: Report, places: Places) -> None:
        self._stops = {(f.model, f.loader): f for f in report.forecasts if f.stops and f.at}
        self._loaders = {loader.name: loader for loader in report.loaders}
        self._places = places

    def of(self, finding: Finding) -> dict[str, Any] | None:
        """Return the flow that ends at the finding's layer, None for a finding that no stopping forecast is behind."""
        forecast = self._stops.get((finding.model or "", finding.loader or ""))
        if forecast is None or forecast.layer != finding.layer:
            return None
        loader = self._loaders.get(forecast.loader)
        layer = self._places.of_finding(finding)
        source = self._places.of_line(loader.source if loader else None) or layer
        steps = ((source, _batches(forecast, loader)), (source, _step(forecast)), (layer, _layer(forecast)))
        return {"threadFlows": [{"locations": [_at(place, text) for place, text in steps]}]}


def _at(place: FileLocation | None, text: str) -> dict[str, Any]:
    return {"location": {"physicalLocation": physical(place), "message": message(text)}}


def _batches(forecast: ForecastFact, loader: LoaderFact | None) -> str:
    rank = forecast.rank or 0
    stream = next((s for s in loader.streams if s.ranks[0] <= rank <= s.ranks[1]), None) if loader else None
    return f"{forecast.loader} gives {runs_text(stream.batches)}" if stream else forecast.loader


def _step(forecast: ForecastFact) -> str:
    size = forecast.batch_size
    text = f"step {forecast.step} of {forecast.steps} of epoch {forecast.epoch}: "
    text += "1 sample" if size == 1 else f"{size} samples"
    parts = (("rank", forecast.rank or None), ("replica", forecast.replica), ("micro-batch", forecast.micro_batch))
    return text + "".join(f", {name} {value}" for name, value in parts if value is not None)


def _layer(forecast: ForecastFact) -> str:
    at = forecast.at
    return f"{at.label} ({at.layer_type or 'layer'}) {at.sees}: {at.error}" if at else forecast.loader
