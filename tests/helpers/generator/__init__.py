"""The metrics generator, and receivers of what it pushes."""
