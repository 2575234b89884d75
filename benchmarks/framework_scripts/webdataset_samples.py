"""webdataset: the pipeline gives samples, and torch's DataLoader batches them."""

import torch
import webdataset
from _shards import fit, network, shard
from _use import allowed, merged, train
from torch.utils.data import DataLoader


def main() -> None:
    torch.manual_seed(0)
    with shard() as url:
        dataset = webdataset.WebDataset(url, shardshuffle=False).decode().to_tuple("x.pth", "y.pth")
        loader = merged(DataLoader(dataset, batch_size=8))
        model = allowed(network())
        train(lambda: fit(model, loader), model, loader)


if __name__ == "__main__":
    main()
