"""TraceQL text → answer. Plain functions over Arrow and numpy: no Kafka, HTTP or files."""
