"""A state dict is saved and loaded into a second model, which predicts two rows in train mode."""

import io
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


torch.manual_seed(0)
model = net()
opt = torch.optim.SGD(model.parameters(), 0.1)
for x, y in DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()
buffer = io.BytesIO()
torch.save(model.state_dict(), buffer)
buffer.seek(0)
loaded = net()
loaded.load_state_dict(torch.load(buffer))
print(loaded(torch.randn(2, 6)))
