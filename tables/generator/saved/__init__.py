"""What is counted, as a file that a restart goes on from."""
