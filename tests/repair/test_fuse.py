"""``fuse``: the same outputs with fewer layers, for every layer that a BatchNorm can be folded into."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from repair.models import FusedNorm, ScaledNorm, Shared, classifier, same, state
from torch import nn
from torch.nn.utils import parametrizations

from bnguard._errors import InputError, RepairError
from bnguard.repair import Fusion, allow_single_sample, freeze, fuse, to_group_norm

NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def random_statistics(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 3, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return model.eval()


def check(model: nn.Module, shape: tuple[int, ...], pairs: int) -> Fusion:
    before = state(model)
    done = fuse(model, inputs=shape)
    assert same(state(model), before)  # the original
    assert len(done.fused) == pairs
    x = torch.randn(3, *shape)
    with torch.no_grad():
        want, got = model.eval()(x), done.model(x)
    assert torch.allclose(want, got, atol=1e-4)
    assert done.max_difference < 1e-4
    assert not done.model.training
    return done


@pytest.mark.parametrize("space", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(space, transposed, groups, bias):
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{space}d")
    conv = kind(4, 8, 3, groups=groups, bias=bias, stride=2, padding=1)
    model = random_statistics(nn.Sequential(conv, NORMS[space](8, eps=1e-3)))
    done = check(model, (4, *(6 for _ in range(space))), pairs=1)
    assert done.fused == (("0", "1"),)
    assert isinstance(done.model[1], nn.Identity)


@pytest.mark.parametrize("affine", [True, False])
def test_linear_layers(affine):
    for bias in (True, False):
        check(random_statistics(nn.Sequential(nn.Linear(5, 7, bias), nn.BatchNorm1d(7, affine=affine))), (5,), pairs=1)


def test_resnet_and_dtypes():
    model = random_statistics(torchvision.models.resnet18())
    done = check(model, (3, 64, 64), pairs=20)
    assert not [m for m in done.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert "20 BatchNorm layers folded" in str(done)
    double = fuse(copy.deepcopy(model).double(), inputs=(3, 64, 64))
    assert double.max_difference < 1e-12
    half = fuse(copy.deepcopy(model).bfloat16(), inputs=(3, 64, 64), verify=False)
    assert half.model.conv1.weight.dtype == torch.bfloat16
    some = fuse(model, only="layer4", inputs=(3, 64, 64))
    assert len(some.fused) == 5
    assert type(some.model.bn1) is nn.BatchNorm2d


def test_a_fused_activation_stays():
    model = random_statistics(nn.Sequential(nn.Conv2d(3, 8, 3), FusedNorm(8), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)))
    done = check(model, (3, 8, 8), pairs=2)
    assert isinstance(done.model[1].act, nn.PReLU)
    assert not done.model[1].drop.training


class Reused(nn.Module):
    """Whatever must not be folded, each with its reason."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)  # folded
        self.twice, self.after_twice = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.skip, self.after_skip = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.changed, self.after_changed = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.scaled_conv, self.scaled = nn.Conv2d(4, 4, 1), ScaledNorm(4)
        self.normed = parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.after_normed, self.alone = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.shared_conv, self.shared = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.untracked_conv, self.untracked = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)
        self.unused = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        x = self.after_twice(self.twice(self.twice(x)))
        y = self.skip(x)
        assert y.dim() == 4  # a look at the shape is no use of the values
        assert y.shape[1] == 4
        x = self.after_skip(y) + y
        x = self.after_changed(self.changed(x).relu_())
        x = self.scaled(self.scaled_conv(x))
        x = self.after_normed(self.normed(x))
        x = self.alone(x)
        x = self.shared(self.shared(self.shared_conv(x)))
        return self.untracked(self.untracked_conv(x))


def test_what_is_left_has_its_reason():
    done = check(random_statistics(Reused()), (3, 5, 5), pairs=1)
    assert done.fused == (("conv", "norm"),)
    words = {
        "after_twice": "a layer that is used more than once",
        "after_skip": "output is used elsewhere",
        "after_changed": "output is used elsewhere",
        "scaled": "does more than normalise",
        "after_normed": "in a way of its own",
        "alone": "follows no Conv",
        "shared": "is used more than once",
        "untracked": "keeps no running statistics",
        "unused": "not reached",
    }
    assert done.skipped.keys() == words.keys()
    for name, part in words.items():
        assert part in done.skipped[name], name
        assert name in str(done)


def test_an_output_that_the_model_gives_back_too():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return {"before": y, "after": self.norm(y)}

    with pytest.raises(RepairError, match="fuse folded nothing: norm follows a layer whose output is used elsewhere"):
        fuse(Both(), inputs=(3, 4, 4))


def test_real_inputs_and_none_at_all():
    model = random_statistics(classifier())
    done = fuse(model, inputs=torch.randn(2, 3, 8, 8))
    assert done.fused == (("0", "1"), ("3.1", "4"))
    assert fuse(model).fused == done.fused  # a shape is guessed
    with pytest.raises(InputError, match="Sequential does not take these inputs: RuntimeError: "):
        fuse(model, inputs=(2, 8, 8))
    with pytest.raises(InputError, match="no input was found") as caught:
        fuse(nn.Sequential(Shared(), nn.Bilinear(2, 2, 2)))
    assert "inputs=" in (caught.value.hint or "")


def test_a_forward_that_writes_into_its_input_and_a_model_that_cannot_be_copied():
    class Writes(nn.Sequential):
        def forward(self, x):
            return super().forward(x.add_(1.0))

    images = torch.randn(2, 3, 8, 8)
    before = images.clone()
    assert fuse(random_statistics(Writes(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))), inputs=images).max_difference < 1e-5
    assert torch.equal(images, before)
    stuck = random_statistics(classifier())
    stuck.kept = stuck[0].weight * 2
    with pytest.raises(RepairError, match="Sequential cannot be copied"):
        fuse(stuck, inputs=(3, 8, 8))


def test_hooks_modes_and_random_numbers_of_the_original():
    model = random_statistics(classifier()).train()
    model[4].eval()
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fuse(model, inputs=(3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert [m.training for m in model][:5] == [True, True, True, True, False]
    assert not seen


def test_verification_is_about_inference_on_one_sample():
    untracked = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)
    )
    with pytest.raises(RepairError, match="3 still fails on one sample in eval mode"):
        fuse(untracked, inputs=(3,))
    assert fuse(untracked, inputs=(3,), verify=False).fused == (("0", "1"),)


def test_a_lost_batch_dimension_is_no_matter_of_statistics():
    class Squeezed(nn.Sequential):
        def forward(self, x):
            return self[2](self[1](self[0](x)).squeeze())

    model = random_statistics(Squeezed(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)))
    for fix in (fuse, allow_single_sample, freeze, to_group_norm):
        with pytest.raises(RepairError, match="the batch dimension is lost on the way") as caught:
            fix(copy.deepcopy(model), inputs=(3,))
        assert "flatten(1)" in (caught.value.hint or "")


def test_a_difference_that_is_no_rounding_is_refused(monkeypatch):
    monkeypatch.setattr("bnguard.repair._fuse.folded", lambda feeder, _norm: (feeder.weight * 1.1, feeder.bias))
    with pytest.raises(RepairError, match="outputs differ by"):
        fuse(random_statistics(classifier()), inputs=(3, 8, 8))


def test_a_model_without_batchnorm():
    model = nn.Sequential(nn.Linear(3, 4))
    with pytest.warns(UserWarning, match="no BatchNorm layer"):
        done = fuse(model)
    assert done.model is not model
    assert done.fused == ()
    assert nn.DataParallel(classifier()) is not None
    assert type(fuse(nn.DataParallel(random_statistics(classifier())), inputs=(3, 8, 8)).model) is nn.Sequential
