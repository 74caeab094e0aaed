"""The live store and its stream without Kafka."""
