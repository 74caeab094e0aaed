"""The Parquet files of segments and blocks: written, and read by pages."""
