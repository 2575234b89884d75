"""Five folds; each leaves 21 samples for training, and batches of 10 leave one."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

dataset = TensorDataset(torch.randn(26, 6), torch.randn(26, 1))
folds = torch.arange(26).tensor_split(5)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.out = nn.Linear(16, 1)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.hidden(x))))


for k, held_out in enumerate(folds):
    kept = [i for i in range(26) if i not in held_out.tolist()]
    fit_loader = DataLoader(Subset(dataset, kept), batch_size=10, shuffle=True)
    score_loader = DataLoader(Subset(dataset, held_out.tolist()), batch_size=10)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = 0
    for x, y in fit_loader:
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        seen += len(x)
    model.eval()
    score = sum(float((model(x) - y).square().sum()) for x, y in score_loader)
    print(f"fold {k}: {seen} of {len(kept)} samples, {score:.2f}")
