"""Four folds of twenty samples by hand; each trains on fifteen in batches of four, the fold's five validate in eval mode."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(20, 5), torch.randint(0, 2, (20,)))
order = torch.randperm(20).tolist()
for fold in range(4):
    held_out = order[fold * 5 : fold * 5 + 5]
    rest = [i for i in order if i not in held_out]
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(2):
        model.train()
        for x, y in DataLoader(Subset(data, rest), batch_size=4, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.eval()
        for x, y in DataLoader(Subset(data, held_out), batch_size=2):
            model(x)
