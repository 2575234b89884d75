"""Gradient accumulation under autocast: the optimizer steps every other batch, and each forward still sees one batch.

Eleven samples in batches of two end with one sample. That the gradients of two batches are added up does not help the
BatchNorm1d layer (1), which gets one value per channel at step 6.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ACCUMULATE = 2


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(11, 20), torch.randint(3, (11,)))
    train_loader = DataLoader(data, batch_size=2, shuffle=True)
    model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    scaler = torch.amp.GradScaler("cpu")

    for epoch in range(2):
        for i, (x, y) in enumerate(train_loader, 1):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x), y) / ACCUMULATE
            scaler.scale(loss).backward()
            if i % ACCUMULATE == 0 or i == len(train_loader):
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
