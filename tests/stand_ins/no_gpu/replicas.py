"""Four replicas: the tail of five is two, two and one."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
net = nn.DataParallel(net, device_ids=[0, 1, 2, 3]).cuda()
optimizer = torch.optim.SGD(net.parameters(), 0.1)
loader = DataLoader(TensorDataset(torch.randn(21, 4), torch.randint(2, (21,))), batch_size=8)
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x.cuda()), y.cuda()).backward()
    optimizer.step()
