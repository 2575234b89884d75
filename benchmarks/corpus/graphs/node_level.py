"""BatchNorm on nodes: the graph that is left over has six of them."""

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
data = [Data(x=torch.randn(6, 4), edge_index=torch.randint(6, (2, 9)), y=torch.tensor([i % 2])) for i in range(9)]
loader = DataLoader(data, batch_size=8)
model = Net()
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for d in loader:
        opt.zero_grad()
        nn.functional.cross_entropy(model(d), d.y).backward()
        opt.step()
