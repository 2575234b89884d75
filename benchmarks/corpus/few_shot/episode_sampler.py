"""A batch sampler of episodes; each batch is cut into support and query: two of each, and then three and one."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset


class Episodes(Sampler):
    def __init__(self, episodes):
        self.episodes = episodes

    def __len__(self):
        return self.episodes

    def __iter__(self):
        g = torch.Generator().manual_seed(0)
        for _ in range(self.episodes):
            yield torch.randperm(20, generator=g)[:4].tolist()


def shots(episode):
    return 3 if episode == 4 else 2


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.randn(20, 6), torch.randn(20, 2)), batch_sampler=Episodes(6))
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
opt = torch.optim.Adam(model.parameters())
for episode, (x, y) in enumerate(loader):
    k = shots(episode)
    support = model(x[:k])
    query = model(x[k:])
    loss = F.mse_loss(support, y[:k]) + F.mse_loss(query, y[k:])
    opt.zero_grad()
    loss.backward()
    opt.step()
