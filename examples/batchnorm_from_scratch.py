"""A BatchNorm written by hand, as in many courses: it never raises, it just outputs its bias for a lone sample.

bnguard scan examples/batchnorm_from_scratch.py
python examples/batchnorm_from_scratch.py
"""

import torch
from torch import nn


class HandMadeBatchNorm(nn.Module):
    """Normalises (N, C) or (N, C, H, W) over all but the channels."""

    def __init__(self, num_features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_var", torch.ones(num_features))
        self.momentum = momentum
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        over = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        if self.training:
            mean, var = x.mean(over), x.var(over, unbiased=False)
            with torch.no_grad():
                self.moving_mean.lerp_(mean, self.momentum)
                self.moving_var.lerp_(var, self.momentum)
        else:
            mean, var = self.moving_mean, self.moving_var
        normal = (x - mean.view(shape)) / (var.view(shape) + self.eps).sqrt()
        return normal * self.gamma.view(shape) + self.beta.view(shape)


class LeNet(nn.Module):
    """LeNet with a normalisation behind each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5),
            HandMadeBatchNorm(6),
            nn.Sigmoid(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            HandMadeBatchNorm(16),
            nn.Sigmoid(),
            nn.AvgPool2d(2),
            nn.Flatten(),
        )
        self.classify = nn.Sequential(nn.Linear(256, 84), HandMadeBatchNorm(84), nn.Sigmoid(), nn.Linear(84, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(images))


def main() -> None:
    import bnguard

    torch.manual_seed(0)
    found = bnguard.scan(LeNet(), inputs=(1, 28, 28)).models[0]
    for layer in found.layers:
        print(f"{layer.name}: {layer.kind}, {layer.fewest_values} values per channel, {layer.verdict}")
    model = LeNet()
    one, other = model(torch.randn(1, 1, 28, 28)), model(torch.randn(1, 1, 28, 28))
    print(f"two different images give the same logits: {torch.allclose(one, other)}")


if __name__ == "__main__":
    main()
