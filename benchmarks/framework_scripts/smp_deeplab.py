"""segmentation_models_pytorch: DeepLabV3, whose image pooling branch holds one value per channel and image."""

import segmentation_models_pytorch as smp
import torch
from _use import allowed, merged, train
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(9, 3, 32, 32), (torch.randn(9, 1, 32, 32) > 0).float())
    train_loader = merged(DataLoader(data, batch_size=4, shuffle=True))
    model = allowed(smp.DeepLabV3("resnet18", encoder_weights=None, classes=1, decoder_channels=16))
    loss_function = smp.losses.DiceLoss(mode="binary")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def fit() -> None:
        model.train()
        for images, masks in train_loader:
            optimizer.zero_grad()
            loss_function(model(images), masks).backward()
            optimizer.step()

    train(fit, model, train_loader)


if __name__ == "__main__":
    main()
