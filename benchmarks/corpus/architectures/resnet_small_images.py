"""torchvision's ResNet-18 on 32 x 32 pixels: layer4 has maps of one pixel."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

torch.manual_seed(0)
model = resnet18(num_classes=2)
loader = DataLoader(TensorDataset(torch.rand(5, 3, 32, 32), torch.randint(0, 2, (5,))), 2)
opt = torch.optim.SGD(model.parameters(), 0.01)
for epoch in range(2):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
