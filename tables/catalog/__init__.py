"""The catalogue: which blocks there are, how far they reach, and which of them cannot be read."""
