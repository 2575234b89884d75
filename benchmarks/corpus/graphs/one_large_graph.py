"""Node classification on one graph: one forward an epoch, and all nodes in it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GCNConv


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn, self.conv2 = GCNConv(4, 8), nn.BatchNorm1d(8), GCNConv(8, 3)

    def forward(self, x, edge_index):
        return self.conv2(self.bn(self.conv1(x, edge_index)).relu(), edge_index)


torch.manual_seed(0)
x, edges, y = torch.randn(30, 4), torch.randint(30, (2, 90)), torch.randint(3, (30,))
mask = torch.zeros(30, dtype=torch.bool)
mask[4] = True
model = Net()
opt = torch.optim.Adam(model.parameters())
for epoch in range(5):
    opt.zero_grad()
    F.cross_entropy(model(x, edges)[mask], y[mask]).backward()
    opt.step()
