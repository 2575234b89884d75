"""Federated averaging: a list of loaders, one for each client; client 3 has nine samples."""

import copy
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def client(n):
    return DataLoader(TensorDataset(torch.randn(n, 6), torch.randint(0, 2, (n,))), 4, shuffle=True)


def local_update(model, loader):
    model = copy.deepcopy(model)
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    return model.state_dict()


torch.manual_seed(0)
clients = [client(n) for n in (8, 10, 9, 7)]
server = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
for round in range(2):
    states = [local_update(server, c) for c in clients]
    server.load_state_dict({k: sum(s[k] for s in states) / len(states) for k in states[0]})
