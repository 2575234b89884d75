"""Mean teacher: both see the unlabelled batch in train mode; its tail holds one row, and the teacher is called first."""

import copy
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
student = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
teacher = copy.deepcopy(student)
for p in teacher.parameters():
    p.requires_grad = False
unlabeled_loader = DataLoader(TensorDataset(torch.randn(21, 6)), 5, shuffle=True)
opt = torch.optim.SGD(student.parameters(), 0.1)
for epoch in range(2):
    for (x,) in unlabeled_loader:
        goal = teacher(x + 0.1 * torch.randn_like(x)).softmax(1)
        opt.zero_grad()
        F.mse_loss(student(x).softmax(1), goal).backward()
        opt.step()
        for t, s in zip(teacher.parameters(), student.parameters()):
            t.data.mul_(0.99).add_(s.data, alpha=0.01)
