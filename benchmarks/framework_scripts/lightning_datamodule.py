"""Lightning: the loaders come from a LightningDataModule."""

import lightning
import torch
from _use import allowed, merged, train
from lightning_fit import Classifier, samples
from torch.utils.data import DataLoader


class Data(lightning.LightningDataModule):
    def setup(self, stage: str) -> None:
        self.train_set, self.val_set = samples(17), samples(5)

    def train_dataloader(self) -> DataLoader:
        return merged(DataLoader(self.train_set, batch_size=8, shuffle=True))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, batch_size=4)


def loader_of(data: Data) -> DataLoader:
    data.setup("fit")
    return data.train_dataloader()


def main() -> None:
    torch.manual_seed(0)
    data, model = Data(), allowed(Classifier())
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    train(lambda: trainer.fit(model, data), model, lambda: loader_of(data))


if __name__ == "__main__":
    main()
