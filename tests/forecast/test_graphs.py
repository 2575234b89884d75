"""Graphs: how many nodes a batch holds is each graph's own affair, and a forecast has seen one of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import bnguard

data = pytest.importorskip("torch_geometric.data")
geometric = pytest.importorskip("torch_geometric.nn")
loading = pytest.importorskip("torch_geometric.loader")


class OverGraphs(nn.Module):
    """Called with parts of the batch, as PyG's tutorial does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = geometric.GCNConv(4, 8), nn.BatchNorm1d(8)

    def forward(self, x: Any, edge_index: Any, batch: Any) -> Any:
        return self.bn(geometric.global_mean_pool(self.conv(x, edge_index), batch))


class OverNodes(OverGraphs):
    def forward(self, x: Any, edge_index: Any, batch: Any) -> Any:
        return geometric.global_mean_pool(self.bn(self.conv(x, edge_index)), batch)


class OverNodesOfWhole(OverGraphs):
    def forward(self, graphs: Any) -> Any:
        return geometric.global_mean_pool(self.bn(self.conv(graphs.x, graphs.edge_index)), graphs.batch)


def graph(nodes: int) -> Any:
    return data.Data(x=torch.randn(nodes, 4), edge_index=torch.randint(nodes, (2, 9)))


def forecast(model: nn.Module, nodes: list[int], batch_size: int = 8) -> Any:
    loader = loading.DataLoader([graph(n) for n in nodes], batch_size=batch_size)
    (found,) = bnguard.forecast(model, loader).forecasts
    return found


def test_a_layer_after_pooling_sees_a_row_for_each_graph() -> None:
    for nodes in ([6] * 9, [6] * 8 + [1]):
        found = forecast(OverGraphs(), nodes)
        assert (found.stops, found.step, found.ground) == (True, 2, "shapes")


@pytest.mark.parametrize("model", [OverNodes, OverNodesOfWhole])
def test_a_layer_over_nodes_hangs_on_those_of_the_lone_graph(model: type[nn.Module]) -> None:
    for nodes in ([6] * 9, [6] * 8 + [1]):  # the second one really stops
        found = forecast(model(), nodes)
        assert (found.stops, found.ground) == (None, "assumed")
        assert "bn" in found.unknown
        assert "one node" in found.unknown
    alone = forecast(model(), [1] * 9)
    assert (alone.stops, alone.step, alone.ground) == (True, 2, "assumed")
    assert "1 node in the lone graph" in alone.assumption
    even = forecast(model(), [6] * 10)  # two graphs have two nodes or more
    assert (even.stops, even.ground) == (False, "shapes")
