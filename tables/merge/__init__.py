"""Merges sorted Parquet files into larger ones, a range of trace ids at a time. Begin with `merge.py`."""
