"""What a script asks for and this machine lacks: packages, CUDA, pretrained weights, data sets.

One file for each. All of them are put in place together, for as long as the user's code runs, and say what was really
asked for; nothing is replaced that is there.
"""

from bnguard._stand_ins import cuda
from bnguard._stand_ins.request import StandIns, StoodIn, cuda_standing_in, standing_in, telling

__all__ = ["StandIns", "StoodIn", "cuda", "cuda_standing_in", "standing_in", "telling"]
