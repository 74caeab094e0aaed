"""Where spans come in: OTLP over gRPC and HTTP. Bytes are gathered, decoded together, and acknowledged by Kafka."""
