"""What a script's loop does with its batches, read in its source: whether it counts them, or gathers their rows."""

from bnguard._preflight.loops.counting import doubt
from bnguard._preflight.loops.gathering import gathers

__all__ = ["doubt", "gathers"]
