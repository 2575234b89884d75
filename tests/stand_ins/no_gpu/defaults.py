"""A default device, a checkpoint, a tail that is left out."""

import io

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_device("cuda")
net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
file = io.BytesIO()
torch.save(net.state_dict(), file)
file.seek(0)
net.load_state_dict(torch.load(file, map_location="cuda"))
torch.set_default_device("cpu")
optimizer = torch.optim.SGD(net.parameters(), 0.1)
loader = DataLoader(TensorDataset(torch.randn(9, 4), torch.randint(2, (9,))), batch_size=4, drop_last=True)
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x.to("cuda")), y.to("cuda")).backward()
    optimizer.step()
