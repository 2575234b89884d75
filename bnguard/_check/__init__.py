"""``bnguard.check``: what ``[tool.bnguard]`` declares, carried out in one go."""
