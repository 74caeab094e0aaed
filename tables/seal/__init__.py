"""Records as they came → one sorted, wide table of spans: what a segment holds."""

from tables.seal.segment import seal

__all__ = ["seal"]
