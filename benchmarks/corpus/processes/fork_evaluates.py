"""After an even training a forked process evaluates its tail of one in eval mode."""

import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def evaluate(model, x, queue):
    torch.set_num_threads(1)
    model.eval()
    with torch.no_grad():
        queue.put(sum(model(part).sum().item() for part in x.split(4)))


if __name__ == "__main__":
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(8, 6), torch.randint(0, 2, (8,))), 4)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    opt = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    context = mp.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=evaluate, args=(model, torch.randn(9, 6), queue))
    process.start()
    print(queue.get())
    process.join()
