"""Persistent workers with a prefetch factor and a worker_init_fn; even batches, three epochs."""

import random
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def seed_worker(worker_id):
    np.random.seed(torch.initial_seed() % 2**32)
    random.seed(worker_id)


if __name__ == "__main__":
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(12, 6), torch.randint(0, 2, (12,)))
    loader = DataLoader(
        data,
        4,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        prefetch_factor=4,
        worker_init_fn=seed_worker,
        generator=torch.Generator().manual_seed(0),
    )
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(3):
        for x, y in loader:
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()
