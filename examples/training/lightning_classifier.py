"""Lightning's Trainer.fit on nine samples in batches of four: the last batch of an epoch holds one.

Before it trains, the trainer looks at two batches of validation, in eval mode, where one sample is as good as many.
Training stops at step 3, in the BatchNorm1d layer (net.1).
"""

import lightning
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        x, y = batch
        self.log("val_loss", F.cross_entropy(self(x), y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def samples(count: int) -> TensorDataset:
    return TensorDataset(torch.randn(count, 10), torch.randint(2, (count,)))


def main() -> None:
    torch.manual_seed(0)
    train_loader = DataLoader(samples(9), batch_size=4, shuffle=True)
    val_loader = DataLoader(samples(5), batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(Classifier(), train_loader, val_loader)


if __name__ == "__main__":
    main()
