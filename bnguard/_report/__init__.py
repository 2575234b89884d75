"""The reporters: each turns one ``Report`` into text, decides nothing, and knows nothing of models."""
