"""`stretto run`: an embedded Kafka, the worker, and the supervisor of both, on one machine."""
