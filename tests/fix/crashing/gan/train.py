"""A GAN whose discriminator gets as many made samples as the batch has real ones."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LATENT = 4


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(LATENT, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, z):
        return self.layers(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x).flatten()


generator, discriminator = Generator(), Discriminator()
real_loader = DataLoader(TensorDataset(torch.randn(41, 8)), batch_size=20, shuffle=True)
g_optimizer = torch.optim.Adam(generator.parameters())
d_optimizer = torch.optim.Adam(discriminator.parameters())
judge = nn.BCEWithLogitsLoss()
for epoch in range(2):
    seen = 0
    for (real,) in real_loader:
        fake = generator(torch.randn(len(real), LATENT))
        d_optimizer.zero_grad()
        d_loss = judge(discriminator(real), torch.ones(len(real)))
        d_loss = d_loss + judge(discriminator(fake.detach()), torch.zeros(len(real)))
        d_loss.backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        judge(discriminator(fake), torch.ones(len(real))).backward()
        g_optimizer.step()
        seen += len(real)
    print(f"epoch {epoch}: {seen} of 41 samples")
