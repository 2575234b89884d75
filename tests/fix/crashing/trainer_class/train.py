"""A trainer of the user's own holds model, loaders and optimizer."""

import argparse

import torch
from torch import nn
from torch.utils import data


class Trainer:
    def __init__(self, args):
        self.set = data.TensorDataset(torch.randn(args.samples, 5), torch.randint(3, (args.samples,)))
        self.batches = data.DataLoader(
            self.set,
            batch_size=args.batch_size,
            shuffle=True,
        )
        self.model = nn.Sequential(nn.Linear(5, 10), nn.BatchNorm1d(10), nn.Dropout(0.1), nn.Linear(10, 3))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def step(self, x, y):
        self.optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def run(self, epochs):
        for epoch in range(epochs):
            seen = 0
            for x, y in self.batches:
                self.step(x, y)
                seen += x.shape[0]
            print(f"epoch {epoch}: {seen} of {len(self.set)} samples")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=12)
    Trainer(parser.parse_args()).run(epochs=2)
