"""Jaeger's protocols: gRPC, Thrift over HTTP and UDP, and the sampling endpoint of its clients."""
