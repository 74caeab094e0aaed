"""Zipkin's protocols: version 2 as JSON and protobuf, version 1 as JSON and Thrift."""
