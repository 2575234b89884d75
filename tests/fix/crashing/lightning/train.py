"""Lightning: the loop is the library's, the loaders come from methods of a data module."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Data(lightning.LightningDataModule):
    def setup(self, stage):
        self.first = TensorDataset(torch.randn(13, 4), torch.randint(2, (13,)))
        self.second = TensorDataset(torch.randn(7, 4), torch.randint(2, (7,)))

    def loader(self, data, shuffle):
        return DataLoader(data, batch_size=6, shuffle=shuffle)

    def train_dataloader(self):
        return self.loader(self.first, True)

    def val_dataloader(self):
        return self.loader(self.second, False)


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        self.seen = 0

    def training_step(self, batch, _):
        x, y = batch
        self.seen += len(x)
        return nn.functional.cross_entropy(self.layers(x), y)

    def validation_step(self, batch, _):
        x, y = batch
        self.log("loss", nn.functional.cross_entropy(self.layers(x), y))

    def on_train_epoch_end(self):
        print(f"epoch {self.current_epoch}: {self.seen} of 13 samples")
        self.seen = 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


if __name__ == "__main__":
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(Classifier(), Data())
