"""The style of torchvision's references: get_args_parser, a logger around the loader, train_one_epoch, evaluate."""

import argparse
import time
from collections.abc import Iterator

import torch
import torchvision
from _use import allowed, merged, train
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset


class MetricLogger:
    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def update(self, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def log_every(self, iterable: DataLoader, print_freq: int, header: str) -> Iterator:
        start = time.time()
        for i, batch in enumerate(iterable):
            yield batch
            if i % print_freq == 0:
                print(header, f"[{i}/{len(iterable)}]", self.sums, f"{time.time() - start:.1f} s")


def train_one_epoch(model, criterion, optimizer, data_loader, device, epoch, args) -> None:
    model.train()
    metric_logger = MetricLogger()
    for image, target in metric_logger.log_every(data_loader, args.print_freq, f"Epoch: [{epoch}]"):
        image, target = image.to(device), target.to(device)  # noqa: PLW2901 - as torchvision writes it
        loss = criterion(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metric_logger.update(loss=loss.item())


def evaluate(model, criterion, data_loader, device) -> None:
    model.eval()
    metric_logger = MetricLogger()
    with torch.inference_mode():
        for image, target in metric_logger.log_every(data_loader, 100, "Test: "):
            metric_logger.update(loss=criterion(model(image.to(device)), target.to(device)).item())


def main(args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    device = torch.device(args.device)
    dataset = TensorDataset(torch.randn(args.samples, 3, 32, 32), torch.arange(args.samples) % 2)
    data_loader = merged(DataLoader(dataset, batch_size=args.batch_size, sampler=RandomSampler(dataset)))
    data_loader_test = DataLoader(dataset, batch_size=4, sampler=SequentialSampler(dataset))
    model = allowed(torchvision.models.resnet18(num_classes=2).to(device))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def fit() -> None:
        for epoch in range(args.epochs):
            train_one_epoch(model, criterion, optimizer, data_loader, device, epoch, args)
            evaluate(model, criterion, data_loader_test, device)

    train(fit, model, data_loader)


def get_args_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="PyTorch Classification Training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--samples", default=9, type=int)
    parser.add_argument("-b", "--batch-size", default=4, type=int)
    parser.add_argument("--epochs", default=1, type=int)
    parser.add_argument("--print-freq", default=10, type=int)
    return parser


if __name__ == "__main__":
    main(get_args_parser().parse_args())
