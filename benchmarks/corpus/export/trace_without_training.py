"""Nothing is trained: an export script in train mode with one row."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
model.train()
torch.jit.trace(model, torch.randn(1, 4))
