"""The Parquet files of segments and blocks: the writer, and a reader that can read single pages."""
