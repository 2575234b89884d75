"""REINFORCE: the update sees a whole episode; episode 7 ends after one step."""

import random
import torch
from torch import nn

random.seed(1)
torch.manual_seed(0)
policy = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
opt = torch.optim.Adam(policy.parameters())
lengths = [6, 4, 9, 3, 5, 7, 1, 4]
for length in lengths:
    states, actions, rewards = [], [], []
    state = torch.randn(4)
    for t in range(length):
        states.append(state)
        actions.append(random.randrange(2))
        rewards.append(random.random())
        state = torch.randn(4)
    returns = torch.tensor(rewards).flip(0).cumsum(0).flip(0)
    chosen = policy(torch.stack(states)).log_softmax(1).gather(1, torch.tensor(actions)[:, None]).squeeze(1)
    opt.zero_grad()
    (-(chosen * returns).sum()).backward()
    opt.step()
