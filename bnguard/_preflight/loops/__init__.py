"""What a script's loop does with its batches, read in its source: whether it counts them, or gathers their rows."""

from bnguard._preflight.loops.counting import doubt
from bnguard._preflight.loops.gathering import gathers
from bnguard._preflight.loops.limits import limit_of

__all__ = ["doubt", "gathers", "limit_of"]
