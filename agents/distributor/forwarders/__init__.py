"""Copies of requests for other receivers of OTLP. Begin with `forwarder.py`."""
