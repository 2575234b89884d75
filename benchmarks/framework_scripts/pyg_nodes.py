"""PyTorch Geometric: BatchNorm on the nodes; the graph that is left over is a single atom."""

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
        nodes = self.bn(self.conv(data.x, data.edge_index)).relu()
        return self.out(global_mean_pool(nodes, data.batch))


def atoms(count: int) -> list[Data]:
    none = torch.empty(2, 0, dtype=torch.long)
    return [Data(x=torch.randn(1, 4), edge_index=none, y=torch.tensor([i % 2])) for i in range(count)]


def main() -> None:
    torch.manual_seed(0)
    loader = merged(DataLoader(atoms(17), batch_size=8))
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
