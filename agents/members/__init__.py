"""Who is there: each process announces itself on a topic, and reads there who else does."""
