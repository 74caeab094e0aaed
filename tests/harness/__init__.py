"""The real thing under test: a cluster as a user would start it, a Prometheus, clients. Benchmarks use it, too."""
