"""Columns in memory: arrays, nested sets, the index of trace ids. No files, no wire formats."""
