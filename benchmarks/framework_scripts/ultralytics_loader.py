"""Ultralytics: its InfiniteDataLoader and a model of its YAML in a loop of one's own, at one pixel in the last maps."""

import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from torch.utils.data import Dataset
from ultralytics.data import build_dataloader
from ultralytics.nn.tasks import ClassificationModel


class Pictures(Dataset):
    def __init__(self) -> None:
        self.pictures = torch.randn(17, 3, 32, 32)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"img": self.pictures[index], "cls": torch.tensor(index % 2)}


def main() -> None:
    torch.manual_seed(0)
    loader = merged(build_dataloader(Pictures(), batch=8, workers=0, device="cpu"))
    model = allowed(ClassificationModel("yolo11n-cls.yaml", nc=2, verbose=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def fit() -> None:
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch["img"]), batch["cls"]).backward()
            optimizer.step()

    train(fit, model, loader)


if __name__ == "__main__":
    main()
