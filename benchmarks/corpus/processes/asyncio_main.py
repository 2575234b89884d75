"""An asyncio program whose training step runs in a coroutine; the loader is even."""

import asyncio
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


async def batches(loader):
    for batch in loader:
        await asyncio.sleep(0)
        yield batch


async def main():
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(2):
        async for x, y in batches(loader):
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()


asyncio.run(main())
