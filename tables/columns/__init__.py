"""Columns in memory: arrays, nested sets, the index of trace ids. Knows no file and no wire format."""
