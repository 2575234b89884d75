"""The user's script to its end, and the diagnosis below its own traceback."""
