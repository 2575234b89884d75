"""PyG: graph classification, BatchNorm after pooling; nine graphs in batches of eight, and plain arguments."""

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, global_mean_pool


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(4, 8)
        self.bn = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 2)

    def forward(self, x, edge_index, batch):
        return self.out(self.bn(global_mean_pool(self.conv(x, edge_index).relu(), batch)))


torch.manual_seed(0)
data = [Data(x=torch.randn(6, 4), edge_index=torch.randint(6, (2, 9)), y=torch.tensor([i % 2])) for i in range(9)]
loader = DataLoader(data, batch_size=8, shuffle=True)
model = Net()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for d in loader:
        opt.zero_grad()
        nn.functional.cross_entropy(model(d.x, d.edge_index, d.batch), d.y).backward()
        opt.step()
