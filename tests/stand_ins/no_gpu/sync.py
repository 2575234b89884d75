"""SyncBatchNorm over two ranks against BatchNorm over both batches; prints the greatest difference."""

import os
import socket

import torch
from torch import distributed as dist
from torch import multiprocessing as mp
from torch import nn


def main(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    dist.init_process_group("nccl", rank=rank, world_size=2, device_id=torch.device("cuda", rank))
    torch.manual_seed(0)
    x, weight = torch.randn(7, 3, 5, dtype=torch.float64), torch.randn(7, 3, 5, dtype=torch.float64)
    whole, part = x.clone().requires_grad_(), x.clone().requires_grad_()
    alone = nn.BatchNorm1d(3, dtype=torch.float64)
    layer = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3, dtype=torch.float64)).cuda(rank)
    mine = slice(0, 3) if rank == 0 else slice(3, 7)
    expected, given = alone(whole), layer(part[mine].cuda())
    (expected * weight).sum().backward()
    (given * weight[mine]).sum().backward()
    pairs = [(given, expected[mine]), (part.grad[mine], whole.grad[mine])]
    pairs += [(layer.running_mean, alone.running_mean), (layer.running_var, alone.running_var)]
    print([max((a - b).abs().max().item() for a, b in pairs)], flush=True)
    assert layer.eval()(x).shape == x.shape
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    mp.spawn(main, args=(port,), nprocs=2)
