"""Zipkin's spans → OTLP requests: version 2 from JSON and protobuf, version 1 from JSON and Thrift."""
