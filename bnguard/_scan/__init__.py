"""Models: from a target or a live ``nn.Module`` to facts about its normalisation layers."""

from bnguard._scan.scanner import scan

__all__ = ["scan"]
