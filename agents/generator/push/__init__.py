"""Pushes: what is due, in which request, and through which queue it is sent."""
