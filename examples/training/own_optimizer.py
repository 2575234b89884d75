"""An optimizer of one's own that wants a gradient for every parameter, and two forwards in each step (SAM).

Seven samples in batches of three are 3 + 3 + 1: the BatchNorm1d layer (1) stops training at step 3, in the first of the
two forwards.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SharpnessAware(torch.optim.Optimizer):
    """Climbs to the worst point nearby, and steps with the gradient from there."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.1, rho: float = 0.05) -> None:
        super().__init__(params, {"lr": lr, "rho": rho})

    @torch.no_grad()
    def climb(self) -> None:
        for group in self.param_groups:
            norm = torch.stack([p.grad.norm() for p in group["params"]]).norm() + 1e-12
            for p in group["params"]:
                self.state[p]["climbed"] = p.grad * (group["rho"] / norm)
                p.add_(self.state[p]["climbed"])

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(self.state[p]["climbed"] + group["lr"] * p.grad)


def main() -> None:
    torch.manual_seed(0)
    train_loader = DataLoader(TensorDataset(torch.randn(7, 6), torch.randint(2, (7,))), batch_size=3, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))
    optimizer = SharpnessAware(model.parameters())
    for epoch in range(2):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.climb()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
