"""The same agent switches to eval mode to act, and back to learn."""

import random
import torch
import torch.nn.functional as F
from torch import nn


class Agent:
    def __init__(self):
        self.q = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        self.target = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        self.target.load_state_dict(self.q.state_dict())
        self.target.eval()
        self.opt = torch.optim.Adam(self.q.parameters(), 1e-3)
        self.buffer = []

    def act(self, obs):
        self.q.eval()
        with torch.no_grad():
            action = self.q(obs[None]).argmax(1).item()
        self.q.train()
        return action

    def learn(self):
        s, a, r, n = zip(*random.sample(self.buffer, 8))
        with torch.no_grad():
            goal = torch.tensor(r) + 0.9 * self.target(torch.stack(n)).max(1).values
        chosen = self.q(torch.stack(s)).gather(1, torch.tensor(a)[:, None]).squeeze(1)
        self.opt.zero_grad()
        F.mse_loss(chosen, goal).backward()
        self.opt.step()


random.seed(0)
torch.manual_seed(0)
agent, obs = Agent(), torch.randn(4)
for step in range(60):
    action, following = agent.act(obs), torch.randn(4)
    agent.buffer.append((obs, action, random.random(), following))
    obs = following
    if len(agent.buffer) >= 8:
        agent.learn()
