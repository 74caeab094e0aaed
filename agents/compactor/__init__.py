"""Merges small blocks into large ones, and deletes what is too old. Begin with `leader.py` and `executor.py`."""
