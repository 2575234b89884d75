"""What happens when training runs: the layer that failed, why, and what would help.

``classify``, ``diagnosis`` and ``evidence`` need no torch, so nothing is imported here.
"""
