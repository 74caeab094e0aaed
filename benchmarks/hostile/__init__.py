"""Input that is made to hurt: wide data and fuzzed queries over it. Begin with `queries.py`."""
