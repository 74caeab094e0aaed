"""`make bench-queries`: how fast queries are, and whether their answers are right."""
