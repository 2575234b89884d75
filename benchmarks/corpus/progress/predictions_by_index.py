"""All outputs of an epoch are gathered and compared with all labels, in one tensor; the loop asks for every sample."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
X, Y = torch.randn(30, 6), torch.randint(0, 2, (30,))
loader = DataLoader(TensorDataset(X, Y), 4)
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    outputs = []
    for x, y in loader:
        out = model(x)
        outputs.append(out.detach())
        opt.zero_grad()
        F.cross_entropy(out, y).backward()
        opt.step()
    accuracy = (torch.cat(outputs).argmax(1) == Y).float().mean()
    print(f"epoch {epoch}: {accuracy:.2f}")
