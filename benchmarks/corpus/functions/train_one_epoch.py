"""train_one_epoch() and evaluate(), as in many tutorials; 25 images in batches of 6, global pooling before BatchNorm."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
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


def evaluate(model, loader):
    model.eval()
    hits = 0
    with torch.no_grad():
        for images, labels in loader:
            hits += (model(images).argmax(1) == labels).sum().item()
    return hits / len(loader.dataset)


def main():
    torch.manual_seed(3)
    images, labels = torch.rand(31, 1, 8, 8), torch.randint(2, (31,))
    train_dl = DataLoader(TensorDataset(images[:25], labels[:25]), batch_size=6, shuffle=True)
    test_dl = DataLoader(TensorDataset(images[25:], labels[25:]), batch_size=6)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(2):
        print(epoch, train_one_epoch(model, train_dl, optimizer, nn.CrossEntropyLoss()), evaluate(model, test_dl))


main()
