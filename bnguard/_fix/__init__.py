"""Proposing an edit to the user's own source, from its text alone: the file is never run or imported."""

from bnguard._fix.propose import Edit, Left, Proposal, propose

__all__ = ["Edit", "Left", "Proposal", "propose"]
