"""``bnguard.scan``: from a target or a live model to facts about its normalisation layers, judged by the rules."""
