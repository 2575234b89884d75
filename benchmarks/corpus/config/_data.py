import torch
from torch.utils.data import DataLoader, TensorDataset


def make_loaders(train, test, batch_size):
    def samples(n):
        return TensorDataset(torch.randn(n, 6), torch.randint(0, 2, (n,)))

    return DataLoader(samples(train), batch_size, shuffle=True), DataLoader(samples(test), batch_size)
