"""OTLP bytes ↔ columns of spans. Begin with `decoder.py`."""
