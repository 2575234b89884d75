"""PyTorch-Ignite: a supervised trainer with an evaluator after each epoch."""

import torch
from _use import allowed, merged, train
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Loss
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(17, 8), torch.arange(17) % 2)
    train_loader = merged(DataLoader(data, batch_size=8, shuffle=True))
    val_loader = DataLoader(data, batch_size=4)
    model = allowed(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model, metrics={"loss": Loss(nn.CrossEntropyLoss())})
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(val_loader))
    train(lambda: trainer.run(train_loader, max_epochs=1), model, train_loader)


if __name__ == "__main__":
    main()
