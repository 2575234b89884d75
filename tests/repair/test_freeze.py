"""``freeze``: running statistics that no ``train()`` moves, and a way back."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from repair.models import Shared, classifier, fused, same, state, step
from torch import nn

from bnguard._errors import RepairError
from bnguard.repair import allow_single_sample, freeze


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in state(model).items() if "running" in k or "tracked" in k}


def test_statistics_survive_train():
    model = torchvision.models.resnet18()
    before = statistics(model)
    done = freeze(model, inputs=(3, 32, 32))
    assert (len(done.changed), done.verified) == (20, True)
    for _ in range(2):
        model.train()
        step(model, torch.randn(1, 3, 32, 32))
        step(model, torch.randn(4, 3, 32, 32))
    assert same(statistics(model), before)
    assert not model.bn1.training
    assert model.training


def test_affine_is_the_callers_choice():
    model = classifier()
    model[1].weight.requires_grad_(False)
    done = freeze(model, inputs=(3, 8, 8))
    assert not any(p.requires_grad for p in [*model[1].parameters(), *model[4].parameters()])
    done.undo()
    assert [p.requires_grad for p in model[1].parameters()] == [False, True]  # as it was found
    freeze(model, affine=False, inputs=(3, 8, 8))
    assert model[4].weight.requires_grad
    weight = model[4].weight.clone()
    step(model, torch.randn(16, 3, 8, 8))  # one sample may meet dead units alone
    assert not torch.equal(model[4].weight, weight)


def test_undo_follows_the_mode_of_the_model():
    for found, now in ((True, False), (False, True)):
        model = classifier().train(found)
        done = freeze(model, inputs=(3, 8, 8))
        model.train(now)
        done.undo()
        assert model[4].training is now
        assert type(model[4]) is nn.BatchNorm1d
    apart = classifier().train()
    apart[4].eval()
    done = freeze(apart, inputs=(3, 8, 8))
    done.undo()
    assert (apart[1].training, apart[4].training) == (True, False)


def test_only_the_backbone():
    model = nn.ModuleDict({"backbone": classifier(), "head": nn.Sequential(nn.BatchNorm1d(2))})
    done = freeze(model, only="backbone", verify=False)
    assert done.changed == ("backbone.1", "backbone.4")
    assert "not verified" in done.notes[0]
    model.train()
    assert model["head"][0].training
    assert not model["backbone"][4].training


def test_a_layer_that_was_not_chosen_may_fail():
    model = nn.Sequential(classifier(), nn.BatchNorm1d(2))
    assert freeze(model, only="0", inputs=(3, 8, 8)).verified
    with pytest.raises(RepairError, match="1 keeps no running"):
        freeze(nn.Sequential(classifier(), nn.BatchNorm1d(2, track_running_stats=False)), only="1", inputs=(3, 8, 8))


def test_a_fused_dropout_still_follows_the_model():
    model = fused()
    freeze(model, inputs=(3, 3, 3))
    model.train()
    assert (model[1].training, model[1].drop.training) == (False, True)
    model.eval()
    assert not model[1].drop.training


def test_two_fixes_are_undone_in_any_order():
    for first_back in (0, 1):
        model = classifier()
        fixes = [freeze(model, inputs=(3, 8, 8)), allow_single_sample(model, inputs=(3, 8, 8))]
        fixes[first_back].undo()
        assert type(model[4]) is not nn.BatchNorm1d
        step(model, torch.randn(1, 3, 8, 8))
        fixes[1 - first_back].undo()
        assert type(model[4]) is nn.BatchNorm1d


def test_state_dicts_and_copies():
    plain, fixed = classifier(), classifier()
    freeze(fixed, inputs=(3, 8, 8))
    fixed.load_state_dict(plain.state_dict())
    plain.load_state_dict(fixed.state_dict())
    copied = copy.deepcopy(fixed).train()
    assert not copied[4].training
    shared = Shared()
    assert freeze(shared, inputs=(4,)).changed == ("norm",)


def test_ddp_waits_for_gradients():
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self, module: nn.Module) -> None:
            nn.Module.__init__(self)
            self.module = module

        def forward(self, *args):
            return self.module(*args)

    model = Wrapped(classifier())
    with pytest.raises(RepairError, match="waits for the gradient"):
        freeze(model, inputs=(3, 8, 8))
    assert freeze(model, affine=False, inputs=(3, 8, 8)).changed == ("1", "4")
