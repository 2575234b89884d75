"""DistributedDataParallel under torchrun, two gloo processes: eighteen samples are nine for each."""

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main() -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(18, 8), torch.arange(18) % 2)
    sampler = DistributedSampler(data)
    loader = merged(DataLoader(data, batch_size=4, sampler=sampler))
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    model = DistributedDataParallel(allowed(net))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fit() -> None:
        loader.sampler.set_epoch(0)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    try:
        train(fit, model, loader)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
