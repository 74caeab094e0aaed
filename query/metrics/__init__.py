"""Metrics queries: counts per group and interval of each source, merged, and made series. Begin with `metrics.py`."""
