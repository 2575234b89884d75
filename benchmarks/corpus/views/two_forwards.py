"""SimSiam: each view goes through the encoder by itself; the projector's BatchNorm is the first that sees vectors."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SimSiam(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.projector = nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        self.predictor = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))

    def forward(self, a, b):
        za, zb = self.projector(self.backbone(a)), self.projector(self.backbone(b))
        return self.predictor(za), self.predictor(zb), za.detach(), zb.detach()


torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.rand(13, 1, 8, 8)), 4, shuffle=True)
model = SimSiam()
opt = torch.optim.SGD(model.parameters(), 0.05)
for epoch in range(2):
    for (x,) in loader:
        pa, pb, za, zb = model(x + 0.1 * torch.rand_like(x), x.flip(-1))
        loss = -(F.cosine_similarity(pa, zb).mean() + F.cosine_similarity(pb, za).mean()) / 2
        opt.zero_grad()
        loss.backward()
        opt.step()
