"""On an error the batch size grows by one, and the run starts anew: 4, then 5, of seventeen samples; the second try runs."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(batch_size):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(17, 6), torch.randint(0, 2, (17,))), batch_size, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


for batch_size in (4, 5, 6):
    try:
        train(batch_size)
        break
    except ValueError as error:
        print(batch_size, error)
