"""Bytes ↔ span columns: OTLP requests, the records of the topic `spans`, traces as OTLP again."""
