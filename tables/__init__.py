"""Where spans are stored: the span columns, bytes ↔ columns, the live store, blocks."""
