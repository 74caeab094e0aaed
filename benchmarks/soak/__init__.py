"""`make soak`: load for a long time, kill things, and count whether anything was lost or doubled. See ../README.md."""
