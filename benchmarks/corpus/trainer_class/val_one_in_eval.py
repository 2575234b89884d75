"""The same trainer; the validation set ends with one row, and validate() calls eval()."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x):
        return self.fc2(F.relu(self.bn1(self.fc1(x))))


class Trainer:
    def __init__(self, model, dataset, batch_size):
        n = int(0.8 * len(dataset))
        train_set, val_set = random_split(dataset, [n, len(dataset) - n])
        self.model = model
        self.train_loader = DataLoader(train_set, batch_size, shuffle=True)
        self.val_loader = DataLoader(val_set, batch_size)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def train_epoch(self):
        self.model.train()
        for x, y in self.train_loader:
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        return sum(F.cross_entropy(self.model(x), y, reduction="sum").item() for x, y in self.val_loader)

    def fit(self, epochs):
        for epoch in range(epochs):
            self.train_epoch()
            print(f"epoch {epoch}: {self.validate():.4f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    dataset = TensorDataset(torch.randn(41, 10), torch.randint(0, 4, (41,)))  # 32 to train, 9 to validate
    Trainer(Net(10, 12, 4), dataset, batch_size=8).fit(2)
