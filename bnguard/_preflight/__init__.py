"""``bnguard preflight``: a script's first training step, in a process of its own, and what can be learned from it.

The room is not called ``preflight``: importing it would put the package in the place of ``bnguard.preflight``.
"""
