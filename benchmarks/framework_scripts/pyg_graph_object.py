"""PyTorch Geometric: the model takes the batch of graphs; BatchNorm behind the pooling sees one row a graph."""

import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import BatchNorm, GCNConv, global_mean_pool


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.out = GCNConv(4, 8), BatchNorm(8), nn.Linear(8, 2)

    def forward(self, data: Batch) -> torch.Tensor:
        pooled = global_mean_pool(self.conv(data.x, data.edge_index).relu(), data.batch)
        return self.out(self.bn(pooled))


def graphs(count: int, nodes: int) -> list[Data]:
    ring = torch.stack([torch.arange(nodes), torch.arange(1, nodes + 1) % nodes])
    return [Data(x=torch.randn(nodes, 4), edge_index=ring, y=torch.tensor([i % 2])) for i in range(count)]


def main() -> None:
    torch.manual_seed(0)
    loader = merged(DataLoader(graphs(17, 6), batch_size=8, shuffle=True))
    model = allowed(Net())
    optimizer = torch.optim.Adam(model.parameters())

    def fit() -> None:
        for data in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(data), data.y).backward()
            optimizer.step()

    train(fit, model, loader)


if __name__ == "__main__":
    main()
