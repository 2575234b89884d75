"""One image is left over, but every BatchNorm sees a map of several pixels: it runs."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def train_one_epoch(model, loader, optimizer, loss_fn):
    model.train()
    for images, labels in loader:
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main():
    torch.manual_seed(3)
    train_dl = DataLoader(TensorDataset(torch.rand(25, 1, 8, 8), torch.randint(2, (25,))), batch_size=6, shuffle=True)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(2):
        print(epoch, train_one_epoch(model, train_dl, optimizer, nn.CrossEntropyLoss()))


main()
