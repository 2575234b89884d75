"""A folder with models, loaders and a configuration, as a user has them."""

from __future__ import annotations

from pathlib import Path

MODELS = """\
import os, signal, sys
import torch
from torch import nn

print("models.py says hello")
os.system("echo a shell says hello")


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))

    def forward(self, x):
        return self.head(self.body(x))


class Holds(nn.Module):
    def __init__(self, params=None):
        super().__init__()
        self.conv = nn.Conv2d(3, params.hidden if params else 4, 3)
        self.bn = nn.BatchNorm2d(self.conv.out_channels)

    def forward(self, x):
        return self.bn(self.conv(x))


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no such backbone")


class Exits(nn.Module):
    def __init__(self):
        super().__init__()
        os._exit(7)


class Crashes(nn.Module):
    def __init__(self):
        super().__init__()
        os.kill(os.getpid(), signal.SIGSEGV)
"""
DATA = """\
import torch
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.randn(9, 3, 8, 8))
loader = DataLoader(data, 8)


def both():
    return {"train": DataLoader(data, 4), "val": DataLoader(data, 8)}
"""


def make(folder: Path, config: str) -> Path:
    """Write the files; return the configuration's."""
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    (folder / "data.py").write_text(DATA, encoding="utf-8")
    file = folder / "bnguard.toml"
    file.write_text(config, encoding="utf-8")
    return file
