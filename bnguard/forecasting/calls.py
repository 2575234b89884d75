"""``forecast_calls``: the forecast for calls that somebody has recorded, with the model as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader

from bnguard.findings import Report
from bnguard.model.inputs import Inputs

if TYPE_CHECKING:
    from bnguard.facts import Mode
    from bnguard.loader.plan import Setup


def forecast_calls(  # noqa: PLR0913 - what a recording knows
    model: nn.Module,
    loaders: Mapping[str, DataLoader[Any]],
    recipes: Mapping[str, Inputs | Sequence[Inputs]],
    *,
    name: str | None = None,
    modes: Mapping[str, Mode | None] | None = None,
    setup: Setup | None = None,
    device: str = "cuda",
    command: str = "forecast",
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Say where the first epoch of each loader stops, given the calls that one step makes of the model.

    The model and the loaders are left exactly as they are.

    Args:
        model: the root that the training loop calls.
        loaders: by name.
        recipes: by the loader's name, the call that a step makes, or all of them in their order (a discriminator
            sees real samples, then false ones). ``make(batch_size, device)`` gives the arguments. A loader
            without a recipe is reported as not known.
        name: what the model is called in the report; its class where None.
        modes: by the loader's name, what is called on the model before its epoch: ``train``, ``eval``, or None
            to leave the training flag of every module exactly as it is, which is the default.
        setup: ranks, replicas, micro-batches; see ``bnguard.loader.plan.Setup``. Batch sizes are the loaders' own.
        device: whose batch_norm backend to predict.
        command: of the report.
        progress: called with a line before something slow.

    Returns:
        The report: ``forecasts`` in the order of the loaders, ``models``, ``loaders``, findings, ways out.

    Raises:
        BnguardError: the setup means nothing, or a loader's own code raises.

    """
    raise NotImplementedError
