"""Q-learning: the action comes from one observation, in train mode, once the random phase is over."""

import random
import torch
import torch.nn.functional as F
from torch import nn

random.seed(0)
torch.manual_seed(0)
q = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
opt = torch.optim.Adam(q.parameters(), 1e-3)
buffer, obs = [], torch.randn(4)
for step in range(60):
    if step < 40:
        action = random.randrange(2)
    else:
        with torch.no_grad():
            action = q(obs.unsqueeze(0)).argmax(1).item()
    following, reward = torch.randn(4), random.random()
    buffer.append((obs, action, reward))
    obs = following
    if len(buffer) >= 16:
        s, a, r = zip(*random.sample(buffer, 16))
        chosen = q(torch.stack(s)).gather(1, torch.tensor(a)[:, None]).squeeze(1)
        opt.zero_grad()
        F.mse_loss(chosen, torch.tensor(r)).backward()
        opt.step()
