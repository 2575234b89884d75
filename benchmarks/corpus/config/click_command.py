"""A click command with subcommands; the training is even."""

# arguments: train --batch-size 4
import click
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@click.group()
@click.option("--seed", default=0)
def cli(seed):
    torch.manual_seed(seed)


@cli.command()
@click.option("--batch-size", default=5)
@click.option("--samples", default=16)
def train(batch_size, samples):
    loader = DataLoader(TensorDataset(torch.randn(samples, 6), torch.randint(0, 2, (samples,))), batch_size)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    click.echo("done")


if __name__ == "__main__":
    cli()
