"""What months of small traffic leave in a bucket: `python -m benchmarks.months`."""
