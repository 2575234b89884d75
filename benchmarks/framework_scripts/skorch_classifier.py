"""Skorch: a NeuralNetClassifier makes its loader with get_iterator."""

import numpy as np
import torch
from _use import allowed, merged, train
from skorch import NeuralNetClassifier
from torch import nn


class Own(NeuralNetClassifier):
    def get_iterator(self, dataset: object, training: bool = False) -> object:
        iterator = super().get_iterator(dataset, training=training)
        return merged(iterator) if training else iterator


def main() -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(17, 6)).astype(np.float32)
    y = np.arange(17) % 2
    net = Own(
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
        criterion=nn.CrossEntropyLoss,
        max_epochs=1,
        batch_size=8,
        train_split=None,
        verbose=0,
    ).initialize()
    allowed(net.module_)
    train(lambda: net.partial_fit(x, y), net.module_, lambda: net.get_iterator(net.get_dataset(x, y), training=True))


if __name__ == "__main__":
    main()
