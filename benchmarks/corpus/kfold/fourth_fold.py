"""Five folds of 23 samples: the first three train on 18 (three batches of six), the last two on 19 (a tail of one)."""

import torch
import torch.nn.functional as F
from sklearn.model_selection import KFold
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.randn(23, 5), torch.randint(0, 2, (23,)))


def new_model():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


for fold, (train_ids, val_ids) in enumerate(KFold(5, shuffle=True, random_state=0).split(range(len(data)))):
    model = new_model()
    optimizer = torch.optim.Adam(model.parameters())
    train_loader = DataLoader(Subset(data, train_ids), batch_size=6, shuffle=True)
    val_loader = DataLoader(Subset(data, val_ids), batch_size=6)
    for epoch in range(2):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        print(fold, sum(F.cross_entropy(model(x), y).item() for x, y in val_loader))
