"""From a pasted log to a diagnosis, without torch."""
