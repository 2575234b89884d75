"""The collate function makes two crops of each sample: the tail of one has two rows."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def two_crops(samples):
    x = torch.stack([s[0] for s in samples])
    return torch.cat([x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)])


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(9, 6)), batch_size=4, shuffle=True, collate_fn=two_crops)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for views in loader:
        a, b = F.normalize(model(views), dim=1).chunk(2)
        opt.zero_grad()
        (-(a * b).sum(1).mean()).backward()
        opt.step()
