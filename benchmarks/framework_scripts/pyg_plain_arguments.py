"""PyTorch Geometric: the form of its tutorial, model(data.x, data.edge_index, data.batch)."""

import torch
import torch.nn.functional as F  # noqa: N812
from _use import allowed, merged, train
from pyg_graph_object import graphs
from torch import nn
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, global_mean_pool


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.out = GCNConv(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        return self.out(self.bn(global_mean_pool(self.conv(x, edge_index), batch)))


def main() -> None:
    torch.manual_seed(0)
    loader = merged(DataLoader(graphs(17, 6), batch_size=8, shuffle=True))
    model = allowed(Net())
    optimizer = torch.optim.Adam(model.parameters())

    def fit() -> None:
        for data in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(data.x, data.edge_index, data.batch), data.y).backward()
            optimizer.step()

    train(fit, model, loader)


if __name__ == "__main__":
    main()
