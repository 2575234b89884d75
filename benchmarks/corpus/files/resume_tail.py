"""The same; only the second half has a tail of one, and it begins with the checkpoint of the first."""

from pathlib import Path
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def train(checkpoint, epochs, n):
    model = net()
    opt = torch.optim.SGD(model.parameters(), 0.1)
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        start = state["epoch"]
    for epoch in range(start, epochs):
        for x, y in DataLoader(TensorDataset(torch.randn(n, 6), torch.randint(0, 2, (n,))), 4):
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()
        torch.save({"model": model.state_dict(), "epoch": epoch + 1}, checkpoint)


torch.manual_seed(0)
checkpoint = Path("last.ckpt")
train(checkpoint, 1, 8)
assert checkpoint.exists()
train(checkpoint, 2, 9)
