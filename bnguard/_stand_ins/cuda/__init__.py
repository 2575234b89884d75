"""The CPU in the place of CUDA, where a script asks for it and this machine has no CUDA device that could be used.

Whatever names a CUDA device gets the CPU: the methods that move a tensor, the functions that make one, ``torch.load``,
and (each in a file) what ``torch.cuda`` offers and what trains on several devices. All of it is replaced
as attributes, not by a mode: a mode is on in one thread alone, is asked for every function of torch, and is not seen by
``torch.jit.script``. ``torch.cuda.is_available()`` keeps telling the truth, unless it is said to have a device.

A move to the CPU gives the tensor itself, where the real one gives a copy: shapes are the same, memory is shared.
"""

from bnguard._stand_ins.cuda.device import has_usable_device, hint_for
from bnguard._stand_ins.cuda.in_place import cuda_is_the_cpu, made_on, state, was_denied

__all__ = ["cuda_is_the_cpu", "has_usable_device", "hint_for", "made_on", "state", "was_denied"]
