"""One forward of a model, on shapes wherever shapes are enough, and what it says of each normalisation layer."""
