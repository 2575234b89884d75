"""Timm: a model of its factory, create_loader and its PrefetchLoader."""

import timm
import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from PIL import Image
from timm.data.loader import create_loader
from timm.optim import create_optimizer_v2
from torch.utils.data import Dataset


class Pictures(Dataset):
    """As timm's own, this has its transform put in by create_loader."""

    transform = None

    def __len__(self) -> int:
        return 17

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.new("RGB", (32, 32), (index * 10, 255 - index * 10, index))
        return self.transform(picture), index % 2


def main() -> None:
    torch.manual_seed(0)
    loader = create_loader(
        Pictures(),
        input_size=(3, 32, 32),
        batch_size=8,
        is_training=True,
        no_aug=True,
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    )
    loader.loader = type(loader.loader)(
        loader.dataset, batch_size=8, sampler=loader.sampler, collate_fn=loader.loader.collate_fn
    )  # create_loader drops the tail
    loader = merged(loader)
    model = allowed(timm.create_model("test_resnet", num_classes=2, pretrained=False))
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01)

    def fit() -> None:
        model.train()
        for images, target in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(images), target).backward()
            optimizer.step()

    train(fit, model, loader)


if __name__ == "__main__":
    main()
