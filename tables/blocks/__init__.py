"""Blocks: Parquet files in object storage. They are written once, read by ranges, and found by their meta.json."""
