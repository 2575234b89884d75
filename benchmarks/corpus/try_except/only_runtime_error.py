"""Only RuntimeError (out of memory) is caught; BatchNorm raises ValueError."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(13, 5), torch.randint(0, 2, (13,))), batch_size=4, shuffle=True)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.Adam(model.parameters())
for epoch in range(2):
    for x, y in loader:
        try:
            loss = F.cross_entropy(model(x), y)
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            continue
        opt.zero_grad()
        loss.backward()
        opt.step()
