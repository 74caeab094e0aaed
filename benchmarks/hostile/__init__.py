"""What hostile clients do to a running server, and what its other clients notice of it."""
