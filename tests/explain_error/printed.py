"""Logs as Python and others print them, put together from frames."""

from __future__ import annotations

TORCH = "/opt/env/lib/python3.11/site-packages/torch"
ONE_VALUE = "ValueError: Expected more than 1 value per channel when training, got input size torch.Size([1, 4])"


def frame(file: str, function: str, source: str, line: int = 10) -> str:
    return f'  File "{file}", line {line}, in {function}\n    {source}\n'


def called() -> str:
    """The frames between one module and the next."""
    call = frame(f"{TORCH}/nn/modules/module.py", "_wrapped_call_impl", "return self._call_impl(*args, **kwargs)")
    return call + frame(f"{TORCH}/nn/modules/module.py", "_call_impl", "return forward_call(*args, **kwargs)")


def module(source: str, function: str = "forward", file: str = "/home/ann/net.py") -> str:
    return frame(file, function, source) + called()


BATCH_NORM = frame(f"{TORCH}/nn/modules/batchnorm.py", "forward", "return F.batch_norm(") + frame(
    f"{TORCH}/nn/functional.py", "batch_norm", "_verify_batch_size(input.size())"
)
CONTAINER = module("input = module(input)", file=f"{TORCH}/nn/modules/container.py")
LOOP = frame("train.py", "<module>", "train()") + module("out = model(x)", "train", "train.py")
HEAD = "Traceback (most recent call last):\n"


def log(*frames: str, error: str = ONE_VALUE) -> str:
    return HEAD + "".join(frames) + error + "\n"


RICH = """\
╭────────────── Traceback (most recent call last) ──────────────╮
│ /home/ann/train.py:5 in <module>                              │
│                                                               │
│ ❱ 5 model(x)                                                  │
│                                                               │
│ /home/ann/net.py:10 in forward                                │
│                                                               │
│    9 │   │   x = self.fc(x)                                   │
│ ❱ 10 │   │   x = self.bn1(x)                                  │
│   11 │   │   return x                                         │
│                                                               │
│ /opt/env/site-packages/torch/nn/modules/batchnorm.py:210      │
│ in forward                                                    │
│                                                               │
│ ❱ 210 │   │   return F.batch_norm(                            │
╰───────────────────────────────────────────────────────────────╯
ValueError: Expected more than 1 value
per channel when training, got input size
torch.Size([1, 4])
"""

OLD_NOTEBOOK = """\
---------------------------------------------------------------------------
ValueError                                Traceback (most recent call last)
<ipython-input-62-f513ba6863d2> in <module>()
      1 net = Net()
----> 2 net(x)

/usr/lib/python3.7/dist-packages/torch/nn/modules/module.py in __call__(self, *input, **kwargs)
    355         else:
--> 357             result = self.forward(*input, **kwargs)

<ipython-input-61-0123> in forward(self, x)
      8         x = self.fc(x)
----> 9         x = self.bn1(x)

/usr/lib/python3.7/dist-packages/torch/nn/modules/batchnorm.py in forward(self, input)
     35         return F.batch_norm(
---> 36             input, self.running_mean, self.running_var)

ValueError: Expected more than 1 value per channel when training, got input size torch.Size([1, 4])
"""

NEW_NOTEBOOK = """\
---------------------------------------------------------------------------
ValueError                                Traceback (most recent call last)
Cell In[3], line 2
      1 net = Net()
----> 2 net(x)

Cell In[2], line 9, in Net.forward(self, x)
      8         x = self.fc(x)
----> 9         x = self.bn1(x)

File /usr/lib/python3.11/site-packages/torch/nn/modules/batchnorm.py:210, in _BatchNorm.forward(self, input)
    209         return F.batch_norm(
--> 210             input)

ValueError: Expected more than 1 value per channel when training, got input size torch.Size([1, 4])
"""
