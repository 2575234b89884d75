"""Mixed precision, pinned memory, asynchronous copies."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cuda")
net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).to(device)
optimizer = torch.optim.AdamW(net.parameters(), 0.01)
scaler = torch.amp.GradScaler("cuda")
loader = DataLoader(
    TensorDataset(torch.randn(9, 4), torch.randint(2, (9,))), batch_size=4, pin_memory=True, num_workers=1
)
for batch in loader:
    x, y = batch[0].to(device, non_blocking=True), batch[1].to("cuda", non_blocking=True)
    optimizer.zero_grad()
    with torch.autocast("cuda", dtype=torch.float16):
        loss = nn.functional.cross_entropy(net(x) + torch.zeros(2, device="cuda"), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
