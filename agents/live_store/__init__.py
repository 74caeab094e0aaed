"""Keeps recent spans, a partition at a time: from records to segments to blocks. Begin with `agent.py`."""
