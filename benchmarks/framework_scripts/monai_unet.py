"""MONAI: dictionaries, its own DataLoader and a UNet whose lowest level is one pixel."""

import torch
from _use import allowed, merged, train
from monai.data import DataLoader, Dataset
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureTyped


def main() -> None:
    torch.manual_seed(0)
    files = [{"image": torch.randn(1, 8, 8), "label": (torch.randn(1, 8, 8) > 0).float()} for _ in range(17)]
    dataset = Dataset(files, transform=Compose([EnsureTyped(keys=["image", "label"])]))
    train_loader = merged(DataLoader(dataset, batch_size=8, shuffle=True, num_workers=0))
    model = allowed(
        UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8, 8, 8), strides=(2, 2, 2), norm="batch")
    )
    loss_function = DiceLoss(sigmoid=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def fit() -> None:
        model.train()
        for batch_data in train_loader:
            inputs, labels = batch_data["image"], batch_data["label"]
            optimizer.zero_grad()
            loss_function(model(inputs), labels).backward()
            optimizer.step()

    train(fit, model, train_loader)


if __name__ == "__main__":
    main()
