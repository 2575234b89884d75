"""Which calls make a DataLoader, told by what the name means in the file."""

from __future__ import annotations

import pytest

CALLS = {
    "from torch.utils.data import DataLoader\ntrain = DataLoader(ds, 4)": 1,
    "from torch.utils.data import DataLoader as DL\ntrain = DL(ds, 4)": 1,
    "import torch.utils.data as data\ntrain = data.DataLoader(ds, 4)": 1,
    "from torch.utils import data\ntrain = data.DataLoader(ds, 4)": 1,
    "import torch\ntrain = torch.utils.data.DataLoader(ds, 4)": 1,
    "import torch.utils.data\ntrain = torch.utils.data.DataLoader(ds, 4)": 1,
    "import torch as t\ntrain = t.utils.data.DataLoader(ds, 4)": 1,
    "from torch.utils.data.dataloader import DataLoader\ntrain = DataLoader(ds, 4)": 1,
    "from torch.utils.data import *\ntrain = DataLoader(ds, 4)": 1,
    "from torch_geometric.loader import DataLoader\ntrain = DataLoader(ds, 4)": 1,
    "import torch_geometric.loader as pyg\ntrain = pyg.DataLoader(ds, 4)": 1,
    "from torch.utils.data import DataLoader\ntrain = DataLoader[int](ds, 4)": 1,
    "from torch.utils.data import DataLoader\nLoader = DataLoader\ntrain = Loader(ds, 4)": 1,
    "from torch.utils.data import DataLoader\nclass Mine(DataLoader): pass\ntrain = Mine(ds, 4)": 1,
    "import torch\nclass A(torch.utils.data.DataLoader[int]): pass\nclass B(A): pass\ntrain = B(ds, 4)": 1,
    "from torch.utils.data import DataLoader\nclass DataLoader(DataLoader): pass\ntrain = DataLoader(ds, 4)": 1,
    "def f():\n    from torch.utils.data import DataLoader\n    train = DataLoader(ds, 4)": 1,
    "try:\n    from torch_geometric.loader import DataLoader\nexcept ImportError:\n"
    "    from torch_geometric.data import DataLoader\ntrain = DataLoader(ds, 4)": 1,
    # not one
    "class DataLoader: pass\ntrain = DataLoader(ds, 4)": 0,
    "def DataLoader(ds, size): pass\ntrain = DataLoader(ds, 4)": 0,
    "from mine import DataLoader\ntrain = DataLoader(ds, 4)": 0,
    "from .data import DataLoader\ntrain = DataLoader(ds, 4)": 0,
    "from mine import *\ntrain = DataLoader(ds, 4)": 0,
    "from torch.utils.data import *\ndef DataLoader(ds, size): pass\ntrain = DataLoader(ds, 4)": 0,
    "train = DataLoader(ds, 4)": 0,
    "from torch.utils.data import DataLoader\ndef f(DataLoader):\n    train = DataLoader(ds, 4)": 0,
    "from torch.utils.data import DataLoader\nx: DataLoader = make(DataLoader)": 0,
    "from torch.utils.data import DataLoader\nclass M(DataLoader):\n"
    "    def __init__(self):\n        super().__init__(ds, 4)\n        DataLoader.__init__(self, ds)": 0,
    "import torch\ntrain = torch.utils.data.Dataset(ds, 4)": 0,
    "import mine as torch\ntrain = torch.utils.data.DataLoader(ds, 4)": 0,
    "class A(A): pass\ntrain = A(ds, 4)": 0,
    "A = B\nB = A\ntrain = A(ds, 4)": 0,
}


@pytest.mark.parametrize(("text", "count"), CALLS.items())
def test_a_loader_is_known_by_what_its_name_means(proposed, text, count):
    proposal = proposed(text + "\n")
    assert len(proposal.edits) == count, proposal.left
    assert len(proposal.left) == 0
    assert (proposal.new == proposal.old) is (count == 0)


def test_a_name_that_may_be_something_else_is_left(proposed):
    text = (
        "from torch.utils.data import DataLoader\nif fast:\n    from fast import DataLoader\n"
        "train = DataLoader(ds, 4)\n"
    )
    (left,) = proposed(text).left
    assert "bound to something else as well" in left.reason


def test_positions_are_those_of_the_class(proposed):
    torch = proposed(
        "from torch.utils.data import DataLoader\nx = DataLoader(a, 4, True, None, None, 0, None, False, True)\n"
    )
    assert "drop_last=True" in torch.left[0].reason
    (edit,) = proposed("from torch_geometric.loader import DataLoader\nx = DataLoader(a, 4, True, ['x'])\n").edits
    assert "shuffle=True" in edit.reason
