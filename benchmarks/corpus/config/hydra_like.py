"""A decorator that runs main in a folder of its own, catches everything, prints it and leaves with code 1, as Hydra does."""

import functools
import os
import sys
import tempfile
import traceback
from types import SimpleNamespace
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main(**defaults):
    def decorate(task):
        @functools.wraps(task)
        def run():
            with tempfile.TemporaryDirectory() as folder:
                before = os.getcwd()
                os.chdir(folder)
                try:
                    task(SimpleNamespace(**defaults))
                except Exception:
                    print("Error executing job", file=sys.stderr)
                    traceback.print_exc(limit=-1)
                    sys.exit(1)
                finally:
                    os.chdir(before)

        return run

    return decorate


@main(batch_size=8, samples=17)
def train(cfg):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(cfg.samples, 6), torch.randint(0, 2, (cfg.samples,))), cfg.batch_size)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()


if __name__ == "__main__":
    train()
