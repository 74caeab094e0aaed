"""Encodes OTLP requests as records and writes them to topic `spans`. Begin with `span_writer.py`."""
