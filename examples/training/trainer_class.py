"""A trainer class, arguments read at import, several inputs passed by name, and a loader that drops its tail.

Nine samples in batches of four with drop_last=True are two full batches; the ninth is never shown. Nothing breaks in
training, nor in the evaluation that keeps every sample, since it calls eval(): the run ends well.
"""

import argparse
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, Dataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--batch-size", type=int, default=4)
options = parser.parse_args()


class Tagged(Dataset):
    """Words and numbers with a label."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"words": torch.randint(50, (7,)), "numbers": torch.randn(4), "label": i % 2}


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.norm = nn.BatchNorm1d(12)
        self.classify = nn.Linear(12, 2)

    def forward(self, words: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return self.classify(self.norm(torch.cat([self.words(words).mean(1), numbers], dim=1)))


class Trainer:
    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.optimizer = torch.optim.NAdam(model.parameters())
        self.loaders = {
            "train": DataLoader(Tagged(), options.batch_size, shuffle=True, drop_last=True),
            "test": DataLoader(Tagged(), options.batch_size),
        }

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(self.model(words=batch["words"], numbers=batch["numbers"]), batch["label"])

    def fit(self, epochs: int) -> None:
        for _ in range(epochs):
            self.model.train()
            for batch in self.loaders["train"]:
                self.optimizer.zero_grad()
                self.loss(batch).backward()
                self.optimizer.step()
            self.model.eval()
            with torch.no_grad():
                print("test loss", sum(self.loss(batch).item() for batch in self.loaders["test"]))


if __name__ == "__main__":
    Trainer(Tagger()).fit(options.epochs)
