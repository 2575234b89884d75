"""The same; graphs have different sizes, and the one that is left over is a single atom."""

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import BatchNorm, GCNConv, global_mean_pool


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(4, 8)
        self.bn = BatchNorm(8)
        self.out = nn.Linear(8, 2)

    def forward(self, data):
        x = self.bn(self.conv(data.x, data.edge_index)).relu()
        return self.out(global_mean_pool(x, data.batch))


torch.manual_seed(0)
data = []
for i in range(9):
    n = 1 if i == 8 else 2 + i % 4
    data.append(Data(x=torch.randn(n, 4), edge_index=torch.randint(n, (2, 4)), y=torch.tensor([i % 2])))
loader = DataLoader(data, batch_size=4)
model = Net()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for d in loader:
        opt.zero_grad()
        nn.functional.cross_entropy(model(d), d.y).backward()
        opt.step()
