"""Which blocks a query over a time range reads."""

from typing import Final

from tables.blocks.meta import BlockMeta
from tables.units import NS_PER_S

# A trace whose spans lie in several blocks is found whole if they began within this time of the searched range.
TRACE_SLACK_NS: Final = 3600 * NS_PER_S


def overlaps(meta: BlockMeta, start_ns: int | None, end_ns: int | None) -> bool:
    """Whether a query over the time range reads the block. None: open"""
    return (end_ns is None or meta.start_min_ns < end_ns + TRACE_SLACK_NS) and (
        start_ns is None or meta.end_max_ns >= start_ns - TRACE_SLACK_NS
    )
