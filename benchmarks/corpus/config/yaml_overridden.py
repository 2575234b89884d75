"""The same file, with overrides from the command line: batch_size=5."""

# arguments: batch_size=5 epochs=3
import sys
from pathlib import Path
import torch
import torch.nn.functional as F
import yaml
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

config = yaml.safe_load(Path("_config.yaml").read_text())
for override in sys.argv[1:]:
    key, value = override.split("=")
    config["train"][key] = yaml.safe_load(value)
torch.manual_seed(config["seed"])
data = TensorDataset(torch.randn(config["data"]["samples"], 6), torch.randint(0, 2, (config["data"]["samples"],)))
loader = DataLoader(
    data, batch_size=config["train"]["batch_size"], shuffle=True, drop_last=config["train"]["drop_last"]
)
layers = getattr(nn, config["model"]["norm"])
model = nn.Sequential(nn.Linear(6, 8), layers(8), nn.ReLU(), nn.Linear(8, 2))
opt = getattr(torch.optim, config["train"]["optimizer"])(model.parameters(), lr=0.01)
for epoch in range(config["train"]["epochs"]):
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
