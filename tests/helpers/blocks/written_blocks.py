"""Blocks in a bucket, written from OTLP requests as a worker writes them; and where the same spans are compacted."""

from collections.abc import Sequence

from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.cuts import Cut, Cuts
from tables.live.head import seal_records
from tables.live.shared_records import HeadRecord
from tables.parquet.write import to_parquet
from tables.storage.object_store import ObjectStore
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import split

DECODER = OtlpDecoder()
TENANT = "single-tenant"


class WrittenBlocks:
    """The blocks of one Kafka cluster. A flush is one offset of each partition."""

    def __init__(self, store: ObjectStore, partitions: int = 2, columns_max: int = 1000) -> None:
        self.store, self.partitions, self.columns_max = store, partitions, columns_max
        self.cuts = Cuts(store, "cluster")
        self.offset = 0
        self.bodies: dict[int, Sequence[bytes]] = {}  # by offset

    def flush(self, bodies: Sequence[bytes], tenant: str = TENANT) -> list[BlockMeta]:
        """Writes the spans as a block per partition, each with its cut."""
        offset, self.offset = self.offset, self.offset + 1
        self.bodies[offset] = bodies
        metas = self._write(bodies, offset, offset, tenant)
        for meta in metas:
            self.cuts.write(Cut(meta.partition, offset, offset, (meta.key,)))
        return metas

    def merged(self, metas: Sequence[BlockMeta]) -> list[BlockMeta]:
        """Writes blocks that replace all blocks of the same offsets in every partition."""
        first, last = min(meta.first_offset for meta in metas), max(meta.last_offset for meta in metas)
        bodies = [body for offset in range(first, last + 1) for body in self.bodies[offset]]
        return self._write(bodies, first, last, metas[0].tenant)

    def _write(self, bodies: Sequence[bytes], first: int, last: int, tenant: str) -> list[BlockMeta]:
        metas = []
        for part in split(DECODER.decode(bodies).spans, self.partitions):
            value, headers = record.encode(part.spans)
            one = HeadRecord(0, record.read_headers(headers).spans, value)
            table, bad = seal_records([one], self.columns_max)
            assert table is not None
            assert not bad
            starts = table.column("start_ns").to_pylist()
            ends = [start + took for start, took in zip(starts, table.column("duration_ns").to_pylist(), strict=True)]
            segment = SegmentFile(to_parquet(table), len(table), min(starts), max(ends))
            place = BlockRange("cluster", tenant, part.partition, self.partitions, first, last)
            metas.append(write_block(self.store, place, [segment]))
        return metas
