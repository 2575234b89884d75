"""A pasted log or traceback → a diagnosis, from its text alone. No torch here."""

from bnguard._explain_error.explain import diagnose_text, frames_of

__all__ = ["diagnose_text", "frames_of"]
