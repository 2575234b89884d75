"""webdataset: the pipeline batches, and the loader has batch_size=None."""

import torch
import webdataset
from _shards import fit, network, shard
from _use import allowed, merged, train
from torch.utils.data import DataLoader


def main() -> None:
    torch.manual_seed(0)
    with shard() as url:
        samples = webdataset.WebDataset(url, shardshuffle=False).decode().to_tuple("x.pth", "y.pth")
        loader = merged(
            DataLoader(samples.batched(8), batch_size=None), lambda: merged(DataLoader(samples, batch_size=8))
        )
        model = allowed(network())
        train(lambda: fit(model, loader), model, loader)


if __name__ == "__main__":
    main()
