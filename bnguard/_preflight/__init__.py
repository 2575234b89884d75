"""``bnguard preflight``: a script runs in a process of its own, and each loader gives one batch of every kind.

The room has an underscore so that importing it leaves ``bnguard.preflight`` the function. ``launch`` starts the process
and needs no torch; ``child`` is what runs there; ``patches`` tells ``recorder`` what happens; ``passes`` says which
batches are given, ``loops`` whether the script counts them; ``conclude`` makes the report.
"""
