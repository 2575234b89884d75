"""Which loaders need an edit. Lengths and tails are compared with what real DataLoaders yield."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchvision.datasets import FakeData

HEAD = (
    "import torch\nfrom torch.utils.data import DataLoader, IterableDataset, TensorDataset, random_split\n"
    "from torchvision.datasets import FakeData\n"
)


def lines(proposed, text: str):
    return proposed(f"{HEAD}{text}\n")


NEEDED = [
    "train = DataLoader(ds, batch_size=2)",
    "train = DataLoader(ds, batch_size=args.batch_size)",
    "train = DataLoader(ds, BATCH)",
    "B = 8\ntrain = DataLoader(ds, B)",
    "B = 1\nB = 8\ntrain = DataLoader(ds, B)",
    "B = 1\nB += 1\ntrain = DataLoader(ds, B)",
    "for B in (1, 2):\n    train = DataLoader(ds, B)",
    "def f(B=1):\n    train = DataLoader(ds, B)",
    "B = 1\ndef f():\n    global B\n    B = 2\ntrain = DataLoader(ds, B)",
    "train = DataLoader(ds, 8, drop_last=False)",
    "D = False\ntrain = DataLoader(ds, 8, drop_last=D)",
    "train = DataLoader(ds, batch_sampler=sampler)",
    "train = DataLoader(ds, **kwargs)",
    "train = DataLoader(*args)",
    "class Mine(DataLoader):\n    def __init__(self, ds):\n        super().__init__(ds, 8)\ntrain = Mine(ds)",
    "train = merge_tail(DataLoader(ds, 8))",
    "class My(IterableDataset): pass\ntrain = DataLoader(My(), 8)",
]

NOT_NEEDED = {
    "train = DataLoader(ds, batch_size=None)": "batch_size=None: the dataset makes the batches",
    "train = DataLoader(ds)": "every batch holds one sample (batch_size is not given, and so 1)",
    "train = DataLoader(ds, batch_size=1)": "every batch holds one sample (batch_size=1)",
    "train = DataLoader(ds, 1, drop_last=True)": "every batch holds one sample",
    "A = 1\nB = A\ndef f():\n    train = DataLoader(ds, B)": "every batch holds one sample",
    "B: int = 1\ntrain = DataLoader(ds, B)": "every batch holds one sample",
    "train = DataLoader(ds, 8, drop_last=True)": "drop_last=True leaves no short batch, but loses its samples",
    "D = True\ntrain = DataLoader(ds, 8, drop_last=D)": "drop_last=True",
    "train = DataLoader(ds, 8, drop_last=args.drop)": "drop_last=args.drop is decided at run time",
    "import bnguard\ntrain = bnguard.repair.merge_tail(DataLoader(ds, 8))": "already in bnguard.repair.merge_tail()",
    "import bnguard as b\ntrain = b.repair.balance(DataLoader(ds, 8))": "already in bnguard.repair.balance()",
    "from bnguard import repair\ntrain = repair.merge_tail(wrap(DataLoader(ds, 8)))": "already in",
    "from bnguard.repair import merge_tail as m\ntrain = m(DataLoader(ds, 8), min_size=4)": "already in",
    "import bnguard\ntrain = DataLoader(ds, 8)\ntrain = bnguard.repair.merge_tail(train)": "already repaired in line 6",
    "import bnguard\nclass A:\n    def f(self):\n        self.train = DataLoader(ds, 8)\n    def g(self):\n"
    "        self.train = bnguard.repair.balance(self.train)": "already repaired in line 9",
    "train = DataLoader(TensorDataset(torch.randn(1, 3)), 8)": "its dataset holds one sample",
}


@pytest.mark.parametrize("text", NEEDED)
def test_needed(proposed, text):
    proposal = lines(proposed, text)
    assert proposal.edits, proposal.left
    assert proposal.edits[0].reason.endswith("its last batch can hold one sample")


@pytest.mark.parametrize(("text", "reason"), NOT_NEEDED.items())
def test_not_needed(proposed, text, reason):
    proposal = lines(proposed, text)
    assert proposal.new == proposal.old
    assert reason in proposal.left[0].reason


def test_a_repair_of_another_name_or_scope_does_not_count(proposed):
    other = "import bnguard\ntrain = DataLoader(ds, 8)\ntest = bnguard.repair.merge_tail(test)"
    assert lines(proposed, other).edits
    scope = "import bnguard\ntrain = DataLoader(ds, 8)\ndef f(train):\n    train = bnguard.repair.merge_tail(train)"
    assert lines(proposed, scope).edits
    classes = (
        "import bnguard\nclass A:\n    def f(self):\n        self.train = DataLoader(ds, 8)\n"
        "class B:\n    def f(self):\n        self.train = bnguard.repair.merge_tail(self.train)"
    )
    assert lines(proposed, classes).edits


DATASETS = {
    "TensorDataset(torch.randn(9, 3), labels)": lambda: TensorDataset(torch.randn(9, 3)),
    "TensorDataset(torch.zeros((17, 3)))": lambda: TensorDataset(torch.zeros((17, 3))),
    "FakeData(9, (3, 8, 8))": lambda: FakeData(9, (3, 8, 8)),
    "FakeData(size=25)": lambda: FakeData(size=25),
    "range(9)": lambda: range(9),
    "random_split(ds, [9, 3, 2])[0]": None,
    "random_split(ds, (0.5, 0.5))[0]": None,
    "range(3, 12)": None,
    "TensorDataset(torch.randn(n, 3))": None,
    "TensorDataset(torch.tensor(data))": None,
    "FakeData()": None,
}


@pytest.mark.parametrize("size", [2, 4, 5, 8, 30])
@pytest.mark.parametrize("dataset", DATASETS)
def test_known_lengths_are_those_of_real_loaders(proposed, dataset, size):
    proposal = lines(proposed, f"data = {dataset}\ntrain = DataLoader(data, batch_size={size})")
    make = DATASETS[dataset]
    if make is None:
        assert proposal.edits[0].reason.endswith("its last batch can hold one sample")
        return
    sizes = [len(batch) for batch in DataLoader(make(), batch_size=size, collate_fn=list)]
    said = proposal.edits[0].reason if sizes[-1] == 1 else proposal.left[0].reason
    assert said.endswith(f"{sum(sizes)} samples in batches of {size} end with {sizes[-1]}")


@pytest.mark.filterwarnings("ignore:Length of split at index 0 is 0")
def test_the_parts_of_a_split(proposed):
    text = "a, train, c = random_split(FakeData(14), [2, 9, 3])\nloader = DataLoader(train, batch_size=8)"
    sizes = [len(b) for b in DataLoader(random_split(range(14), [2, 9, 3])[1], batch_size=8)]
    assert lines(proposed, text).edits[0].reason.endswith(f"9 samples in batches of 8 end with {sizes[-1]}")
    fractions = "a, train = random_split(FakeData(14), [0, 1])\nloader = DataLoader(train, batch_size=8)"
    assert len(random_split(range(14), [0, 1])[1]) == 14
    assert lines(proposed, fractions).edits[0].reason.endswith("can hold one sample")


def test_a_sampler_decides_over_the_length(proposed):
    assert lines(proposed, "train = DataLoader(range(10), 8, sampler=sampler)").edits
    assert lines(proposed, "def range(n): pass\ntrain = DataLoader(range(10), 8)").edits
