"""What a script asks for and this machine lacks: packages, CUDA, pretrained weights, data sets.

One file for each. All of them are put in place together, for as long as the user's code runs, and say what was really
asked for; nothing is replaced that is there.
"""

from bnguard._stand_ins.request import StandIns, StoodIn, standing_in

__all__ = ["StandIns", "StoodIn", "standing_in"]
