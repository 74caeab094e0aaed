"""The journal: a file of each partition from which a restart goes on counting."""
