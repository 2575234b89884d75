"""A shard for webdataset, made anew for each script."""

import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn


@contextmanager
def shard(samples: int = 17) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shard.tar")
        with tarfile.open(path, "w") as tar:
            for i in range(samples):
                put(tar, f"{i:04}.x.pth", torch.randn(6))
                put(tar, f"{i:04}.y.pth", torch.tensor(i % 2))
        yield str(path)


def put(tar: tarfile.TarFile, name: str, value: torch.Tensor) -> None:
    file = io.BytesIO()
    torch.save(value, file)
    info = tarfile.TarInfo(name)
    info.size = file.tell()
    file.seek(0)
    tar.addfile(info, file)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def fit(model: nn.Module, loader: object) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
