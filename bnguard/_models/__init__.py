"""From a target to a built model, and what to give to its forward."""
