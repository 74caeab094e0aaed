"""Seals records: turns them into one sorted, wide table of spans, the content of a segment."""

from tables.seal.segment import seal

__all__ = ["seal"]
