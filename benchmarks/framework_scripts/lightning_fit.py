"""Lightning: Trainer.fit with two loaders."""

import lightning
import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def samples(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 10), torch.arange(count) % 2)


def main() -> None:
    torch.manual_seed(0)
    train_loader = merged(DataLoader(samples(17), batch_size=8, shuffle=True))
    val_loader = DataLoader(samples(5), batch_size=4)
    model = allowed(Classifier())
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    train(lambda: trainer.fit(model, train_loader, val_loader), model, train_loader)


if __name__ == "__main__":
    main()
