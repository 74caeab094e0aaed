"""Searches: matching traces of all sources, the newest of them, and their result rows. Begin with `search.py`."""
