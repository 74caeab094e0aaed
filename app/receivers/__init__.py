"""Receivers of spans: OTLP over gRPC and HTTP. Requests are batched, decoded together, and acknowledged by Kafka."""
