"""``to_sync``: PyTorch's own conversion, and what it needs."""

from __future__ import annotations

import pytest
import torch
from repair.models import Shared, classifier, fused
from torch import nn

from bnguard._errors import RepairError
from bnguard.repair import to_sync


def test_one_rank_gains_nothing():
    model = classifier()
    with pytest.raises(RepairError, match="there is one rank") as caught:
        to_sync(model)
    assert "init_process_group" in (caught.value.hint or "")
    assert type(model[4]) is nn.BatchNorm1d


def test_the_conversion_is_pytorchs():
    model = classifier()
    model[1].running_mean.normal_()
    want = nn.SyncBatchNorm.convert_sync_batchnorm(classifier())
    done = to_sync(model, verify=False)
    assert [type(m) for m in model] == [type(m) for m in want]
    assert done.changed == ("1", "4")
    assert torch.equal(model[1].running_mean, done.replaced["1"].running_mean)
    assert "two ranks or more" in str(done)
    assert "accelerator" in str(done)
    assert done.verified is None
    done.undo()
    assert type(model[4]) is nn.BatchNorm1d


def test_with_ranks_it_is_verified(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda group=None: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group=None: 2)
    model = classifier()
    assert to_sync(model).verified
    assert set(to_sync(model).skipped.values()) == {"has this fix already"}


def test_shared_layers_stay_one_and_fused_ones_are_left():
    model = Shared()
    to_sync(model, verify=False)
    assert model.norm is model.again[1]
    with pytest.raises(RepairError, match="drop as well, which PyTorch's conversion would leave out"):
        to_sync(fused(), verify=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="SyncBatchNorm takes tensors on an accelerator alone")
def test_on_a_gpu_one_rank_is_a_batchnorm():
    model = classifier().cuda()
    to_sync(model, verify=False)
    model(torch.randn(4, 3, 8, 8, device="cuda")).sum().backward()
