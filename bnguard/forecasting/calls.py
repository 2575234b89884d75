"""``forecast_calls``: the forecast for calls that somebody has recorded, with the model as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from bnguard.facts import Mode
from bnguard.findings import Report
from bnguard.forecasting.feeds import Feed, foresee
from bnguard.forecasting.reporting import report_on
from bnguard.loader.live import LiveRequest, audit_live
from bnguard.loader.plan import Setup
from bnguard.loader_facts import LoaderFact, Suggestion
from bnguard.model.inputs import Inputs
from bnguard.model.opened import check_device, open_live
from bnguard.model.trace import Progress
from bnguard.untouched import untouched_process


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
    progress: Progress | None = None,
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
            to leave the training flag of every module exactly as it is, which is the default. The loader is then
            judged as the root's own flag says.
        setup: ranks, replicas, micro-batches; see ``bnguard.loader.plan.Setup``. Batch sizes are the loaders' own.
        device: whose batch_norm backend to predict.
        command: of the report.
        progress: called with a line before something slow.

    Returns:
        The report: ``forecasts`` in the order of the loaders, ``models``, ``loaders``, findings, ways out.

    Raises:
        BnguardError: the setup means nothing, or a loader's own code raises.

    """
    check_device(device)
    called = modes or {}
    facts: list[LoaderFact] = []
    ways: list[Suggestion] = []
    for loader_name, loader in loaders.items():
        chosen = setup or Setup(batch_size=1)
        mode: Mode = called.get(loader_name) or ("train" if model.training else "eval")
        audit = audit_live(loader, LiveRequest(chosen, names=(loader_name,), mode=mode))
        facts += audit.loaders
        ways += audit.suggestions
    with untouched_process():
        opened = open_live(model, None, device)
        if name is not None:
            opened = replace(opened, target=name)
        feeds = [_feed(fact, recipes.get(fact.name), called.get(fact.name)) for fact in facts]
        found = list(foresee(opened, feeds, device, progress or (lambda _: None)))
    return report_on(found, facts, ways, command, torch=torch.__version__)


def _feed(loader: LoaderFact, recipe: Inputs | Sequence[Inputs] | None, called: Mode | None) -> Feed:
    if recipe is None:
        return Feed(
            loader, (), called, unknown="how the model's arguments follow the size of its batches was not recorded"
        )
    return Feed(loader, tuple(recipe) if isinstance(recipe, Sequence) else (recipe,), called)
