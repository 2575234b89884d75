"""The same with the sizes exchanged: head b meets the tail of one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.heads = nn.ModuleDict(
            {
                "a": nn.Linear(8, 2),
                "b": nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)),
            }
        )

    def forward(self, x, task):
        return self.heads[task](self.trunk(x))


torch.manual_seed(0)
tasks = {
    "a": DataLoader(TensorDataset(torch.randn(10, 6), torch.randint(0, 2, (10,))), 4),
    "b": DataLoader(TensorDataset(torch.randn(9, 6), torch.randn(9)), 4),
}
model = MultiTask()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for task, loader in tasks.items():
        for x, y in loader:
            out = model(x, task)
            loss = F.cross_entropy(out, y) if task == "a" else F.mse_loss(out.squeeze(1), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
