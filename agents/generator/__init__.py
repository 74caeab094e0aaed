"""Turns spans into span metrics and service graphs, and pushes the series to Prometheus. Begin with `agent.py`."""
