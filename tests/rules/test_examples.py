"""The wrong example of every rule is found by that rule, and the right one is not: both are really executed."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import torch
from diagnose.wordings import OLD, refusing
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, get_worker_info

import bnguard
from bnguard._rules import CATALOGUE, Rule

NAMES = (torch, nn, bnguard, DataLoader, IterableDataset, TensorDataset, get_worker_info)
AUDIT = ("replicas", "shard")
"""What an example may say of its loader that the loader does not know."""


def executed(code: str) -> dict[str, Any]:
    names = {getattr(x, "__name__", "").rpartition(".")[2]: x for x in NAMES}
    exec(textwrap.dedent(code), names)
    return names


def codes_of_a_model(code: str) -> set[str]:
    names = executed(code)
    model, x = names["model"], names["x"]
    report = bnguard.scan(
        model, tuple(x.shape[1:]), batch_size=len(x), mode="train" if model.training else "eval", device="cpu"
    )
    return {f.code for f in report.findings}


def codes_of_a_loader(code: str) -> set[str]:
    names = executed(code)
    loaders = {name: x for name, x in names.items() if isinstance(x, DataLoader)}
    options = {name: names[name] for name in AUDIT if name in names}
    return {f.code for f in bnguard.audit_loader(loaders, **options).findings}


def codes_of_a_run(code: str) -> set[str]:
    """Call the example's model under the guard; its "card whose cuDNN refuses" does so while cuDNN is enabled."""
    with torch.backends.cudnn.flags(enabled=True):
        names = executed(code)
        model, refuses = names["model"], "cudnn" in code.lower()
        try:
            with refusing(OLD, when=lambda x, cudnn: refuses and cudnn), bnguard.guard(model, watch=True) as guarded:
                model(names["x"])
        except Exception as error:
            return {error.bnguard.code}
        return {f.code for f in guarded.watch.findings}


FINDERS = {"model": codes_of_a_model, "loader": codes_of_a_loader, "run": codes_of_a_run}


@pytest.mark.parametrize("rule", list(CATALOGUE), ids=lambda rule: rule.code)
def test_the_wrong_one_is_found_and_the_right_one_is_not(rule: Rule) -> None:
    find = FINDERS[rule.subject]
    assert rule.code in find(rule.example.wrong)
    assert rule.code not in find(rule.example.right)
