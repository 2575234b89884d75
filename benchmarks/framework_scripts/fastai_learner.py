"""Fastai: a Learner over DataLoaders, whose training loader is told to keep its tail batch."""

import fastai.callback.progress  # noqa: F401 - it gives a Learner its no_bar
import torch
from _use import allowed, merged, train
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from torch import nn


def main() -> None:
    torch.manual_seed(0)
    data = [(torch.randn(3, 8, 8), i % 2) for i in range(17)]
    loader = DataLoader(data, bs=8, shuffle=True, num_workers=0)
    train_loader = merged(loader, lambda: loader.new(bs=7))
    dls = DataLoaders(train_loader, DataLoader(data, bs=8, num_workers=0))
    model = allowed(
        nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    )
    learner = Learner(dls, model, loss_func=CrossEntropyLossFlat())

    def fit() -> None:
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)

    train(fit, model, dls.train)


if __name__ == "__main__":
    main()
