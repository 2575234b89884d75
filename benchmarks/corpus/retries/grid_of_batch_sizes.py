"""A grid over batch sizes and seeds: 4 and 6 divide 24 samples, 23 leaves one."""

import itertools
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(batch_size, seed):
    torch.manual_seed(seed)
    loader = DataLoader(TensorDataset(torch.randn(24, 6), torch.randint(0, 2, (24,))), batch_size, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
    return loss.item()


results = {(b, s): train(b, s) for b, s in itertools.product((4, 6, 23), (0, 1))}
print(min(results, key=results.get))
