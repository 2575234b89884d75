"""Distillation: the teacher is in eval mode and takes the tail of one, the student is not and does not."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def net(width):
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


torch.manual_seed(0)
teacher, student = net(32), net(8)
teacher.eval()
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
