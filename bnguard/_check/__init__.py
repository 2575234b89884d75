"""``bnguard.check``: what ``[tool.bnguard]`` declares, carried out in one go.

The room is not called ``check``: importing it would put the package in the place of ``bnguard.check``.
"""
