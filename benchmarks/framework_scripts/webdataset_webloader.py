"""webdataset: WebLoader, whose stages take the batches apart, shuffle and batch again."""

import torch
import webdataset
from _shards import fit, network, shard
from _use import allowed, merged, train


def main() -> None:
    torch.manual_seed(0)
    with shard() as url:
        samples = webdataset.WebDataset(url, shardshuffle=False).decode().to_tuple("x.pth", "y.pth")
        loader = webdataset.WebLoader(samples.batched(4), batch_size=None, num_workers=0)
        loader = merged(
            loader.unbatched().shuffle(20).batched(8), lambda: merged(webdataset.WebLoader(samples, batch_size=8))
        )
        model = allowed(network())
        train(lambda: fit(model, loader), model, loader)


if __name__ == "__main__":
    main()
