"""Where spans rest: the span columns, bytes to columns and back, the live store, blocks."""
