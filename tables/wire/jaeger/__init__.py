"""Jaeger's spans → OTLP requests: from Thrift and from protobuf."""
