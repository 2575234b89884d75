"""Goes on only where there is a device."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

assert torch.cuda.is_available(), "this needs a GPU"
torch.cuda.set_device(0)
print(torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory)
net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).to("cuda")
optimizer = torch.optim.SGD(net.parameters(), 0.1)
loader = DataLoader(TensorDataset(torch.randn(9, 4), torch.randint(2, (9,))), batch_size=4, pin_memory=True)
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x.to("cuda")), y.to("cuda")).backward()
    optimizer.step()
