"""Lightning: LightningCLI builds model, data and trainer from the command line."""

import torch
from _use import allowed, train
from lightning.pytorch.cli import LightningCLI
from lightning_datamodule import Data, loader_of
from lightning_fit import Classifier

OPTIONS = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.logger=false"]
OPTIONS += ["--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false"]


def main() -> None:
    torch.manual_seed(0)
    cli = LightningCLI(Classifier, Data, run=False, args=OPTIONS, save_config_callback=None)
    model = allowed(cli.model)
    train(lambda: cli.trainer.fit(model, cli.datamodule), model, lambda: loader_of(cli.datamodule))


if __name__ == "__main__":
    main()
