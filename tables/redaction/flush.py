"""Segments become a block without what redactions remove."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from prometheus_client import Counter

from tables.blocks.write import BlockRange, SegmentFile
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.errors import DamagedError
from tables.redaction.rewrite import redacted_block_id, redacted_file
from tables.redaction.rules import Redaction

log = logging.getLogger(__name__)

FLUSHES = Counter("stretto_redaction_flushes_total", "Flushed blocks of which redactions in force removed something.")


def redacted_block(
    block: BlockRange, segments: Sequence[SegmentFile], redactions: Sequence[Redaction]
) -> tuple[BlockRange, list[SegmentFile]]:
    """What to write instead of the segments of one tenant; no segments: nothing is left.

    A block of which something was removed has another id: another writer that does not know the redactions yet may
    write the whole one at the same time, and each cut must name a block that is one or the other.
    """
    if not redactions:
        return block, list(segments)
    try:
        found = [_redacted(segment, redactions, block) for segment in segments]
    except DamagedError as err:
        # Written as it is: the flush must go on, and whoever repairs the block can redact it then.
        log.error("redactions cannot be applied to a flush: %s", err)
        return block, list(segments)
    left = [segment for segment in found if segment.spans]
    marked = replace(block, redactions=tuple(sorted(each.id for each in redactions)))
    if all(after is before for after, before in zip(found, segments, strict=True)):
        return marked, left
    FLUSHES.inc()
    return replace(marked, own_id=redacted_block_id(block.id, redactions)), left


def _redacted(segment: SegmentFile, redactions: Sequence[Redaction], block: BlockRange) -> SegmentFile:
    concerned = [each for each in redactions if each.concerns(segment.start_min_ns, segment.end_max_ns)]
    name = f"a segment of tenant {block.tenant}, partition {block.partition}"
    data, table = redacted_file(segment.data, concerned, name)
    if table is None:
        return segment
    if not table.num_rows:
        return replace(segment, data=data, spans=0)
    start_ns, end_ns = time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))
    return replace(segment, data=data, spans=table.num_rows, start_min_ns=start_ns, end_max_ns=end_ns)
