"""pytorch-metric-learning: an embedding under a triplet loss with a miner."""

import torch
from _use import allowed, merged, train
from pytorch_metric_learning import losses, miners
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(17, 1, 8, 8), torch.arange(17) % 3)
    train_loader = merged(DataLoader(data, batch_size=8, shuffle=True))
    model = allowed(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)))
    loss_function, miner = losses.TripletMarginLoss(), miners.TripletMarginMiner()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def fit() -> None:
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            embeddings = model(images)
            loss_function(embeddings, labels, miner(embeddings, labels)).backward()
            optimizer.step()

    train(fit, model, train_loader)


if __name__ == "__main__":
    main()
