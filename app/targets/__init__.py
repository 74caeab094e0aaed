"""The targets of a process: which servers and agents each starts, and what they share."""
