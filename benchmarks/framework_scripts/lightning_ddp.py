"""Lightning: DDP on two processes, which it starts itself; it puts its own DistributedSampler into the loader."""

import lightning
import torch
from _use import allowed, merged, train
from lightning_fit import Classifier, samples
from torch.utils.data import DataLoader


class Ranked(Classifier):
    def train_dataloader(self) -> DataLoader:
        return merged(DataLoader(samples(18), batch_size=4, shuffle=True))


def main() -> None:
    torch.manual_seed(0)
    model = allowed(Ranked())
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_val_batches=0,
    )
    train(lambda: trainer.fit(model), model, model.train_dataloader, world_size=2)


if __name__ == "__main__":
    main()
