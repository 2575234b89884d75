"""A GAN on ten images in batches of three: two models, two optimisers, and a last batch of one.

The discriminator's BatchNorm sees maps of 4 × 4 pixels, which one image fills. The generator starts from a vector of
noise, one for each real image: its first BatchNorm1d (layer 1) gets one value per channel at step 4.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NOISE = 16

torch.manual_seed(0)
generator = nn.Sequential(
    nn.Linear(NOISE, 64 * 4), nn.BatchNorm1d(64 * 4), nn.ReLU(), nn.Unflatten(1, (64, 2, 2)),
    nn.ConvTranspose2d(64, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh(),
)  # fmt: skip
discriminator = nn.Sequential(
    nn.Conv2d(1, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16 * 16, 1)
)


def main() -> None:
    loader = DataLoader(TensorDataset(torch.rand(10, 1, 8, 8)), batch_size=3, shuffle=True)
    step_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    step_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for epoch in range(2):
        for (real,) in loader:
            ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)

            step_d.zero_grad()
            loss_real = F.binary_cross_entropy_with_logits(discriminator(real), ones)
            fake = generator(torch.randn(len(real), NOISE))
            loss_fake = F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros)
            (loss_real + loss_fake).backward()
            step_d.step()

            step_g.zero_grad()
            loss_g = F.binary_cross_entropy_with_logits(discriminator(fake), ones)
            loss_g.backward()
            step_g.step()
        print(f"epoch {epoch}: generator {loss_g.item():.3f}")


if __name__ == "__main__":
    main()
