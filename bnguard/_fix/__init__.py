"""Proposing an edit to the user's own source, from its text alone: the file is never run or imported."""

from bnguard._fix.propose import Decision, Declared, Proposal, decide, decide_models, proposal_of, propose
from bnguard._fix.reading import Reading, read

__all__ = ["Decision", "Declared", "Proposal", "Reading", "decide", "decide_models", "proposal_of", "propose", "read"]
