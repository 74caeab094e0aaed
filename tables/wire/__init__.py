"""Bytes ↔ span columns: OTLP requests, records of topic `spans`, and traces back to OTLP."""
