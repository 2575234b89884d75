"""What happens when training runs: the layer that failed, why, and what would help.

``classify``, ``evidence``, ``log_text`` and ``module_path`` need no torch, so nothing is imported here.
"""
