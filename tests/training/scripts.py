"""Small training scripts of many kinds, as texts; what each really does is found by running it."""

from __future__ import annotations

HEAD = """\
# {options}
import itertools, sys, threading, queue
import torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(model.parameters(), 0.1)
X, Y = torch.randn(1201, 4), torch.randint(0, 2, (1201,))
def data(n): return TensorDataset(X[:n], Y[:n])
def fit(x, y):
    opt.zero_grad(); F.cross_entropy(model(x), y).backward(); opt.step()
"""

LONG = "loader = DataLoader(data(1201), 8, shuffle=True)\n"
NINE = "loader = DataLoader(data(9), 4)\n"
MASKED = "X[:, 0] = X[:, 0].abs(); X[720:728, 0] = -1; X[723, 0] = 1\nloader = DataLoader(data(1200), 8)\n"

GATHERED = "kept = []\nfor x, y in DataLoader(data(1201), 7): kept.append(x)\n"

SCRIPTS: dict[str, str] = {
    # short epochs
    "plain": NINE + "for x, y in loader: fit(x, y)\n",
    "even": "loader = DataLoader(data(8), 4)\nfor x, y in loader: fit(x, y)\n",
    "second_loader": NINE
    + "first = DataLoader(data(8), 4)\nfor x, y in first: fit(x, y)\nfor x, y in loader: fit(x, y)\n",
    "unused_loader": NINE + "for x, y in DataLoader(data(8), 4): fit(x, y)\n",
    "first_batch_only": NINE + "for _ in range(5): fit(*next(iter(loader)))\n",
    "skip": NINE + "for x, y in loader:\n    if len(x) < 2: continue\n    fit(x, y)\n",
    "caught": NINE + "for x, y in loader:\n    try: fit(x, y)\n    except ValueError: pass\n",
    "caught_then_exit": NINE
    + "try:\n    for x, y in loader: fit(x, y)\nexcept Exception as e:\n    print(e); sys.exit(1)\n",
    "zip_of_two": NINE
    + "other = DataLoader(data(6), 2)\nfor (x, y), (u, v) in zip(loader, other): fit(x, y); fit(u, v)\n",
    "cycle": NINE + "for i, (x, y) in enumerate(itertools.cycle(loader)):\n    if i == 7: break\n    fit(x, y)\n",
    "half": "loader = DataLoader(data(11), 4)\nfor x, y in loader:\n    k = len(x) // 2; fit(x[:k], y[:k])\n",
    "chunks": "for x, y in DataLoader(data(8), 8):\n    for a, b in zip(x.split(7), y.split(7)): fit(a, b)\n",
    "no_loader": "for i in range(0, 9, 4): fit(X[i:i + 4][:9 - i], Y[i:i + 4][:9 - i])\n",
    "no_loader_even": "for i in range(0, 8, 4): fit(X[i:i + 4], Y[i:i + 4])\n",
    "eval_then_train": NINE
    + "for e in range(2):\n    model.eval()\n    for x, y in loader: model(x)\n    model.train()\n"
    "    for x, y in DataLoader(data(8), 4): fit(x, y)\n",
    "unfrozen_later": NINE + "model[1].eval()\nfor e in range(4):\n    if e == 2: model[1].train()\n"
    "    for x, y in loader: fit(x, y)\n",
    "fixed_noise": NINE
    + "D = nn.Linear(4, 1)\nfor x, y in loader: fit(torch.randn(4, 4), Y[:4]); D(x).mean().backward()\n",
    "fetched_by_a_thread": NINE + "q = queue.Queue(2)\ndef fill():\n    for b in loader: q.put(b)\n    q.put(None)\n"
    "threading.Thread(target=fill, daemon=True).start()\nwhile (b := q.get()) is not None: fit(*b)\n",
    "drops_none": "class D(Dataset):\n    def __len__(s): return 8\n"
    "    def __getitem__(s, i): return None if i in (5, 6, 7) else (X[i], Y[i])\n"
    "def col(b): return torch.utils.data.default_collate([t for t in b if t is not None])\n"
    "for x, y in DataLoader(D(), 4, collate_fn=col): fit(x, y)\n",
    "workers": "for x, y in DataLoader(data(9), 4, num_workers=2, persistent_workers=True): fit(x, y)\n",
    "length_varies": "class S(Sampler):\n    e = -1\n    def __init__(s): pass\n    def __len__(s): return 8\n"
    "    def __iter__(s): s.e += 1; return iter(range(8 + s.e % 2))\n"
    "loader = DataLoader(data(9), 4, sampler=S())\nfor e in range(3):\n    for x, y in loader: fit(x, y)\n",
    # long epochs: something is left out, or must not be
    "long": LONG + "for x, y in loader: fit(x, y)\n",
    "long_even": "loader = DataLoader(data(1200), 8)\nfor i, (x, y) in enumerate(loader):\n    fit(x, y)\n"
    "    if i % 100 == 0: print(i)\n",
    "long_accumulates": LONG + "for i, (x, y) in enumerate(loader):\n    F.cross_entropy(model(x), y).backward()\n"
    "    if (i + 1) % 4 == 0 or i + 1 == len(loader): opt.step(); opt.zero_grad()\n",
    "long_last_by_length": LONG + "for i, (x, y) in enumerate(loader):\n    if i != len(loader) - 1: fit(x, y)\n",
    "long_break": LONG + "for i, (x, y) in enumerate(loader):\n    fit(x, y)\n    if i == 120: break\n",
    "long_counter": LONG
    + "step = 0\ndef train():\n    global step\n    for x, y in loader:\n        fit(x, y); step += 1\n"
    "        if step >= 120: return\ntrain()\n",
    "long_counter_in_a_function": LONG + "steps = 0\ndef one(x, y):\n    global steps\n    steps += 1\n"
    "    if steps > 120: sys.exit()\n    fit(x, y)\nfor x, y in loader: one(x, y)\n",
    "long_islice": LONG + "for x, y in itertools.islice(loader, 120): fit(x, y)\n",
    "long_next": LONG + "it = iter(loader)\nfor s in range(120): fit(*next(it))\n",
    "long_validates_inside": LONG + "val = DataLoader(data(9), 4)\nfor i, (x, y) in enumerate(loader):\n    fit(x, y)\n"
    "    if i % 60 == 59:\n        with torch.no_grad():\n            for a, b in val: model(a)\n",
    "long_mask_in_model": MASKED + "class M(nn.Module):\n    def __init__(s): super().__init__(); s.n = model\n"
    "    def forward(s, x): return s.n(x[x[:, 0] > 0])\nm = M()\nfor x, y in loader: m(x).sum().backward()\n",
    "long_mask_in_loop": MASKED + "for x, y in loader:\n    k = x[:, 0] > 0\n    fit(x[k], y[k])\n",
    "long_collate": "class D(Dataset):\n    def __len__(s): return 1200\n"
    "    def __getitem__(s, i): return None if 600 < i < 608 else (X[i], Y[i])\n"
    "def col(b): return torch.utils.data.default_collate([t for t in b if t is not None])\n"
    "loader = DataLoader(D(), 8, collate_fn=col)\nfor x, y in loader: fit(x, y)\n",
    "long_bags": "class D(Dataset):\n    def __len__(s): return 140\n"
    "    def __getitem__(s, i): return X[i:i + (1 if i == 120 else 3 + i % 5)]\n"
    "loader = DataLoader(D(), 1)\nfor b in loader: model(b[0]).sum().backward()\n",
    "long_middle": "class B(Sampler):\n    def __init__(s): pass\n    def __len__(s): return 150\n"
    "    def __iter__(s):\n        for i in range(150): yield [i] if i == 100 else list(range(8))\n"
    "loader = DataLoader(data(1200), batch_sampler=B())\nfor x, y in loader: fit(x, y)\n",
    "long_stream": "class S(IterableDataset):\n    def __iter__(s): return iter(zip(X, Y))\n"
    "loader = DataLoader(S(), 8)\nfor x, y in loader: fit(x, y)\n",
    "long_counts_at_the_end": "loader = DataLoader(data(1200), 8)\nseen = 0\nfor x, y in loader:\n"
    "    fit(x, y); seen += len(x)\nassert seen == 1200\n",
    "long_endless": "class E(Sampler):\n    def __init__(s): pass\n    def __iter__(s):\n"
    "        while True: yield from range(1200)\nloader = DataLoader(data(1200), 8, sampler=E())\n"
    "for i, (x, y) in enumerate(loader):\n    fit(x, y)\n    if i == 120: break\n",
    # rows of a long epoch are gathered, and trained on: those of the batches left out would be missing
    "gathered": GATHERED + "for (x,) in DataLoader(TensorDataset(torch.cat(kept)), 8): fit(x, Y[:len(x)])\n",
    "gathered_even": GATHERED + "for (x,) in DataLoader(TensorDataset(torch.cat(kept)), 29): fit(x, Y[:len(x)])\n",
    "gathered_in_a_list": "rows = []\nfor x, y in DataLoader(data(1201), 7): rows.extend(zip(x, y))\n"
    "for i in range(0, 1201, 8): fit(*map(torch.stack, zip(*rows[i:i + 8])))\n",
    "gathered_by_value": "kept = torch.cat([x[x[:, 0] > 0] for x, y in DataLoader(data(1201), 7)])\n"
    "for (x,) in DataLoader(TensorDataset(kept), len(kept) - 1): fit(x, Y[:len(x)])\n",
    "gathered_losses": "losses = []\nfor x, y in DataLoader(data(1200), 8): fit(x, y); losses.append(x.mean().item())\n"
    + LONG
    + "for x, y in loader: fit(x, y)\n",
}

UNKNOWN: dict[str, str] = {
    "mask": SCRIPTS["long_mask_in_model"],
    "counter": SCRIPTS["long_counter"],
    "next": SCRIPTS["long_next"],
    "collate": SCRIPTS["long_collate"],
    "validates_inside": SCRIPTS["long_validates_inside"],
    "gathered": GATHERED
    + "loader = DataLoader(TensorDataset(torch.cat(kept)), 8)\nfor (x,) in loader: fit(x, Y[:len(x)])\n",
}
"""Scripts for which the time does not do, with a budget of nothing: no answer may be given."""
