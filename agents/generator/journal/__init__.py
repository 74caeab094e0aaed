"""The journal: a file per worker, from which the generator continues to count after a restart."""
