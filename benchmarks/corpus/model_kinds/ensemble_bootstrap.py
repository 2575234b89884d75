"""An ensemble of three; each member sees its own share of a batch: halves of eight rows, and of the tail of three one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Ensemble(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)),
                nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)),
                nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
            ]
        )

    def forward(self, shares):
        return [m(x) for m, x in zip(self.members, shares)]


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(19, 6), torch.randint(0, 2, (19,))), 8, shuffle=True)
model = Ensemble()
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        rows = [torch.randperm(len(x))[: len(x) // 2] for _ in model.members]
        outs = model([x[r] for r in rows])
        opt.zero_grad()
        sum(F.cross_entropy(o, y[r]) for o, r in zip(outs, rows)).backward()
        opt.step()
