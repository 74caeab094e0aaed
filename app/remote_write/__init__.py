"""Prometheus remote write: pushes to one or more receivers."""
