"""Blocks: Parquet files in object storage, written once, read by ranges, listed by their meta.json."""
