"""BatchNorm on the data of a packed sequence: the tail of one sample has five tokens."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.out(self.bn(packed.data))


torch.manual_seed(0)
lengths = torch.tensor([3, 1, 4, 1, 5, 2, 1, 1, 5])
loader = DataLoader(TensorDataset(torch.randn(9, 5, 4), lengths), batch_size=4)
model = Tagger()
opt = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    for x, n in loader:
        out = model(x, n)
        opt.zero_grad()
        F.cross_entropy(out, torch.zeros(len(out), dtype=torch.long)).backward()
        opt.step()
