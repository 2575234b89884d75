"""Ultralytics: YOLO's trainer, which itself refuses a last batch of one on images of 32 pixels."""

import tempfile
from pathlib import Path

import torch
from _use import allowed, merged, train
from PIL import Image
from ultralytics.models.yolo.classify import ClassificationTrainer


class Own(ClassificationTrainer):
    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> object:
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        return merged(loader) if mode == "train" else loader

    def get_model(self, cfg: str | None = None, weights: str | None = None, verbose: bool = True) -> object:
        return allowed(super().get_model(cfg, weights, verbose))


def pictures(folder: Path, count: int) -> None:
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (i * 10, 255 - i * 10, i)).save(path)


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder, "data/train"), 17)
        pictures(Path(folder, "data/val"), 4)
        options = {"model": "yolo11n-cls.yaml", "data": str(Path(folder, "data")), "imgsz": 32, "batch": 8, "epochs": 1}
        options |= {"device": "cpu", "workers": 0, "plots": False, "save": False, "project": folder, "verbose": False}
        trainer = Own(overrides={**options, "optimizer": "SGD", "amp": False})

        def loader() -> object:
            trainer.setup_model()
            return trainer.get_dataloader(trainer.data["train"], batch_size=8, rank=-1)

        train(trainer.train, trainer.get_model("yolo11n-cls.yaml", verbose=False), loader)


if __name__ == "__main__":
    main()
