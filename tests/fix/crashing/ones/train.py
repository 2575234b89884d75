"""Images of different sizes, one a batch: there is no batch before it to merge a sample into."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return torch.randn(3, 16 + 4 * i, 24), i % 2


def build():
    features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(features, nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


net = build()
loader = DataLoader(Images(), shuffle=True)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
seen = 0
for image, label in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(image), label).backward()
    optimizer.step()
    seen += len(image)
print(f"epoch 0: {seen} of 6 samples")
