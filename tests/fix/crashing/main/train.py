"""A loop in main(); 17 samples in batches of 8 leave one."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLES = 17


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(SAMPLES, 4), torch.randint(2, (SAMPLES,)))
    loader = DataLoader(data, batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(2):
        seen = 0
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(x)
        print(f"epoch {epoch}: {seen} of {SAMPLES} samples")


if __name__ == "__main__":
    main()
