"""Proposing an edit to the user's own source, from its text alone: the file is never run or imported."""

from bnguard._fix.propose import Decision, Proposal, propose

__all__ = ["Decision", "Proposal", "propose"]
