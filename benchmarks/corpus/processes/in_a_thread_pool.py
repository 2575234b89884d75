"""Two models train in threads; the second has a tail of one, and result() raises it again."""

from concurrent.futures import ThreadPoolExecutor
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(n):
    g = torch.Generator().manual_seed(n)
    data = TensorDataset(torch.randn(n, 6, generator=g), torch.randint(0, 2, (n,), generator=g))
    loader = DataLoader(data, 4)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    return n


with ThreadPoolExecutor(1) as pool:
    futures = [pool.submit(train, n) for n in (8, 9)]
    print([f.result() for f in futures])
