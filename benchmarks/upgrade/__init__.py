"""`make upgrade`: a rolling upgrade of real processes between two revisions, under load. See ../README.md."""
