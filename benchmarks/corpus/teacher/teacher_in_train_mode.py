"""Only the teacher has BatchNorm, and its eval() was forgotten: no_grad does not help."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
teacher = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3)).requires_grad_(False)
student = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
loader = DataLoader(TensorDataset(torch.randn(13, 6), torch.randint(0, 3, (13,))), 4, shuffle=True)
opt = torch.optim.SGD(student.parameters(), 0.1)
for epoch in range(2):
    for x, y in loader:
        with torch.no_grad():
            soft = teacher(x).softmax(1)
        out = student(x)
        opt.zero_grad()
        (F.cross_entropy(out, y) + F.kl_div(out.log_softmax(1), soft, reduction="batchmean")).backward()
        opt.step()
