import torch
from torch.utils.data import DataLoader, TensorDataset


def dataset(samples):
    return TensorDataset(torch.randn(samples, 3, 8, 8), torch.randint(4, (samples,)))


def make_loader(data, batch_size=16, shuffle=False):
    return DataLoader(data, batch_size=batch_size, shuffle=shuffle)
