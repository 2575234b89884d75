"""Proposing an edit to the user's own source, from its text alone: the file is never run or imported."""

from bnguard.edit.proposal import Edit, Left, Proposal
from bnguard.edit.propose import propose

__all__ = ["Edit", "Left", "Proposal", "propose"]
