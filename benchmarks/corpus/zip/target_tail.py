"""The same with a longer source: the target's tail meets the model in step 5."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
source = DataLoader(TensorDataset(torch.randn(48, 6), torch.randint(0, 2, (48,))), batch_size=8, shuffle=True)
target = DataLoader(TensorDataset(torch.randn(33, 6)), batch_size=8, shuffle=True)
features = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
classify = nn.Linear(8, 2)
opt = torch.optim.SGD([*features.parameters(), *classify.parameters()], 0.1)
for epoch in range(2):
    for (xs, ys), (xt,) in zip(source, target):
        fs, ft = features(xs), features(xt)
        loss = F.cross_entropy(classify(fs), ys) + (fs.mean(0) - ft.mean(0)).pow(2).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
