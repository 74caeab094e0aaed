"""Sources without what redactions in force remove, where blocks and live parts still have it."""

from collections.abc import Iterable, Sequence
from typing import Any

from tables.blocks.meta import BlockMeta
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.redaction.rewrite import may_concern
from tables.redaction.rules import Redaction
from tables.redaction.source import RedactedSource


def redacted_parts(sources: Iterable[Any], redactions: Sequence[Redaction]) -> list[Any]:
    """Parts of the live store. Raises: OSError from a source"""
    return [RedactedSource(source, redactions) for source in sources] if redactions else list(sources)


def redacted_file(meta: BlockMeta, source: Any, redactions: Sequence[Redaction]) -> Any:
    """The source of a file of a block."""
    todo = [each for each in redactions if each.id not in meta.redactions]
    return RedactedSource(source, todo) if todo else source


def redacted_blocks(
    blocks: BlockList,
    metas: Sequence[BlockMeta],
    redactions: Sequence[Redaction],
    filters: TraceFilters,
) -> list[Any]:
    """The sources of blocks. Most blocks have been redacted, and are opened as ever. On a thread: reads filters and
    trace ids. Raises: OSError from a source
    """
    unredacted = {
        meta.block_id: todo
        for meta in metas
        if (todo := [each for each in redactions if each.id not in meta.redactions])
    }
    sources = blocks.query_sources([meta for meta in metas if meta.block_id not in unredacted], filters)
    others = [meta for meta in metas if meta.block_id in unredacted]
    holding = _holding(blocks, others, redactions, filters)
    for meta in others:
        for number, (file, source) in enumerate(zip(meta.files, blocks.sources(meta, filters), strict=True)):
            todo = [
                each
                for each in unredacted[meta.block_id]
                if may_concern(meta, file, each)
                and (not each.trace_id or (meta.block_id, number) in holding[each.trace_id])
            ]
            sources.append(RedactedSource(source, todo) if todo else source)
    return sources


def _holding(
    blocks: BlockList, metas: Sequence[BlockMeta], redactions: Sequence[Redaction], filters: TraceFilters
) -> dict[str, set[tuple[str, int]]]:
    """By trace id: the files that may hold it."""
    trace_ids = {each.trace_id for each in redactions if each.trace_id}
    packs = blocks.filter_packs(metas[0].tenant) if metas else ()
    return {
        trace_id: {
            (meta.block_id, number)
            for meta, numbers in filters.files_with(blocks.store, metas, bytes.fromhex(trace_id), packs)
            for number in numbers
        }
        for trace_id in trace_ids
    }
