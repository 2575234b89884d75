"""``to_group_norm``: no statistics across samples, and everything else as it was."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from repair.models import FusedNorm, ScaledNorm, Shared, classifier, fused, same, state, step
from torch import nn

from bnguard._errors import RepairError, UsageError
from bnguard.repair import allow_single_sample, to_group_norm
from bnguard.repair._replace import largest_groups


@given(channels=st.integers(1, 300), most=st.integers(1, 64), positions=st.integers(1, 9))
def test_pytorch_takes_the_chosen_groups(channels, most, positions):
    count = largest_groups(channels, most, positions)
    x = torch.randn(1, channels, positions)
    if count is None:
        with pytest.raises(ValueError, match="Expected more than 1 value"):
            nn.GroupNorm(1, channels)(x)
        return
    nn.GroupNorm(count, channels)(x)
    assert count <= most
    if count > 1:
        assert x.view(count, -1).size(1) >= 16


def test_why_two_values_are_too_few():
    x = torch.tensor([[1.0, 4.0, -2.0, 30.0], [7.0, 2.0, 5.0, 4.0]])
    assert torch.allclose(nn.GroupNorm(2, 4)(x).abs(), torch.ones(2, 4), atol=1e-3)  # the values themselves are gone
    image = torch.randn(5, 8, 7, 7)
    assert nn.GroupNorm(8, 8)(image).mean((2, 3)).abs().max() < 1e-5  # and here all that pooling would give
    for channels in (8, 64, 512):
        count = largest_groups(channels, 32, 1)
        assert count is not None
        assert nn.GroupNorm(count, channels)(torch.randn(5, channels)).abs().std() > 0.3


def test_resnet_on_small_images():
    model = torchvision.models.resnet18()
    done = to_group_norm(model, inputs=(3, 32, 32))
    assert (len(done.changed), done.verified) == (20, True)
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (model.bn1.num_groups, model.layer4[0].bn1.num_groups) == (32, 32)
    step(model, torch.randn(1, 3, 32, 32))
    assert list(done.replaced)[:2] == ["bn1", "layer1.0.bn1"]
    done.undo()
    assert model.bn1 is done.replaced["bn1"]
    assert not [m for m in model.modules() if isinstance(m, nn.GroupNorm)]


def test_parameters_are_the_same_objects_so_that_an_optimiser_goes_on():
    model = classifier()
    model[1].weight.data.uniform_()
    model[4].bias.requires_grad_(False)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    weight, bias = model[1].weight, model[4].bias
    before = weight.clone()
    to_group_norm(model, inputs=(3, 8, 8))
    assert model[1].weight is weight
    assert model[4].bias is bias
    assert not model[4].bias.requires_grad
    model(torch.randn(1, 3, 8, 8)).square().sum().backward()
    optimiser.step()
    assert not torch.equal(weight, before)


def test_what_a_layer_was_stays():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6, affine=False, eps=1e-3), nn.Flatten(), nn.BatchNorm1d(6)
    )
    model.eval()
    model[1].train()
    model.to(torch.float64)
    seen = []
    handle = model[1].register_forward_hook(lambda *_: seen.append(1))
    to_group_norm(model, groups=3, inputs=(3, 1, 1))
    assert [type(m) for m in model[1::2]] == [nn.GroupNorm, nn.GroupNorm]
    assert (model[1].num_groups, model[1].eps, model[1].affine, model[1].weight) == (1, 1e-3, False, None)
    assert (model[1].training, model[3].training) == (True, False)
    assert model[3].weight.dtype == torch.float64
    model(torch.randn(1, 3, 1, 1, dtype=torch.float64))
    handle.remove()
    model(torch.randn(1, 3, 1, 1, dtype=torch.float64))
    assert seen == [1]


def test_a_shared_layer_stays_one():
    model = Shared()
    done = to_group_norm(model, inputs=(4,))
    assert model.norm is model.again[1]
    assert isinstance(model.norm, nn.GroupNorm)
    assert set(done.replaced) == {"norm", "again.1"}
    step(model, torch.randn(1, 4))
    done.undo()
    assert model.norm is model.again[1]
    assert isinstance(model.norm, nn.BatchNorm1d)


def test_a_fused_activation_is_applied_after_groups():
    model = fused().eval()
    act = model[1].act
    to_group_norm(model, inputs=(3, 3, 3))
    assert model[1].act is act
    x = torch.randn(2, 3, 3, 3)
    want = act(nn.functional.group_norm(model[0](x), model[1].num_groups, model[1].weight, model[1].bias)).flatten(1)
    assert torch.allclose(model(x), want)
    step(model, torch.randn(1, 3, 3, 3))
    assert act.weight.grad is not None


def test_a_layer_that_does_more_is_left_with_the_reason():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), ScaledNorm(4), nn.BatchNorm2d(4))
    done = to_group_norm(model, inputs=(3, 8, 8))
    assert done.changed == ("2",)
    assert "does more than normalise" in done.skipped["1"]
    alone = nn.Sequential(ScaledNorm(4))
    with pytest.raises(RepairError, match="ScaledNorm"):
        to_group_norm(alone, inputs=(4, 8, 8))
    fixed = nn.Sequential(FusedNorm(4))
    allow_single_sample(fixed, inputs=(4, 8, 8))
    assert to_group_norm(fixed, inputs=(4, 8, 8)).changed == ("0",)  # what was added goes with the layer


def test_a_checkpoint_of_the_batchnorm_model_still_loads():
    model = torchvision.models.resnet18()
    saved = state(model)
    to_group_norm(model, inputs=(3, 32, 32))
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        copied.load_state_dict(saved)
        assert torch.equal(copied.layer4[0].bn1.weight, saved["layer4.0.bn1.weight"])
    assert "bn1.running_mean" in saved  # the caller's dictionary is as it was
    missing, unexpected = torchvision.models.resnet18().load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert all("running" in k or "tracked" in k for k in missing)


def test_impossible_groups_change_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.BatchNorm1d(1))
    before, saved = list(model), state(model)
    with pytest.raises(RepairError, match="3 has one channel on one pixel"):
        to_group_norm(model, inputs=(3,))
    assert all(a is b for a, b in zip(before, model, strict=True))
    assert same(saved, state(model))
    for groups in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="groups"):
            to_group_norm(model, groups)
    with pytest.raises(RepairError, match="nothing holds it"):
        to_group_norm(nn.BatchNorm1d(4))


def test_without_inputs_one_pixel_is_assumed():
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(64)

        def forward(self, x, y, z):
            return self.norm(x.a + y.b + z)

    model = Unknown()
    done = to_group_norm(model)
    assert model.norm.num_groups == 4
    assert done.verified is None
    assert "not verified" in str(done)


def test_a_failing_verification_puts_everything_back(monkeypatch):
    model = classifier()
    monkeypatch.setattr("bnguard.repair._replace.largest_groups", lambda channels, most, positions: channels)
    with pytest.raises(RepairError, match=r"after to_group_norm, 4 \(GroupNorm\) still fails"):
        to_group_norm(model, inputs=(3, 8, 8))
    assert [type(model[i]) for i in (1, 4)] == [nn.BatchNorm2d, nn.BatchNorm1d]
