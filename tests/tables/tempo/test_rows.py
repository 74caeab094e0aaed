"""OTLP requests → blocks of Tempo → rows → OTLP."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tables.seal import seal
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.tempo.block_meta import decode_tempo_meta
from tables.tempo.file import open_tempo_file
from tables.tempo.rows import span_rows
from tables.wire.otlp.writer import to_resource_spans
from tables.wire.record_columns import checked
from tests.helpers.examples import examples
from tests.helpers.tempo.tempo_blocks import TempoBlock
from tests.helpers.tempo.tempo_spans import DEDICATED, held, spans
from tests.strategies import REQUESTS


def imported(folder: Path) -> list[ResourceSpans]:
    """The spans of a block, as OTLP."""
    store = ObjectStore(StorageConfig("local", str(folder.parent)))
    path = f"{folder.name}/meta.json"
    meta = decode_tempo_meta(path, store.get(path) or b"")
    assigned = tuple(meta.assigned())
    file = open_tempo_file(store, f"{folder.name}/data.parquet", meta.size_bytes, assigned)
    found = [span_rows(batch, assigned) for batch in file.batches()]
    assert not any(rows.wrong or rows.odd_ids for rows in found)
    batches = [checked(rows.spans) for rows in found if len(rows.spans)]
    return to_resource_spans(seal(batches)) if batches else []


@settings(max_examples=examples(15))
@given(st.lists(REQUESTS, min_size=1, max_size=3), st.sampled_from(["vParquet4", "vParquet5"]), st.booleans())
def test_a_block_gives_back_what_it_was_made_of(
    requests: list[ExportTraceServiceRequest],
    version: str,
    dedicated: bool,
) -> None:
    with TemporaryDirectory() as name:
        block = TempoBlock(version, dedicated=DEDICATED if dedicated else ())
        folder = block.write(Path(name), requests)
        whole = [group for request in requests for group in held(request, version if dedicated else "")]
        # Of spans that are equal in every field one may stay.
        assert spans(imported(folder)).keys() == spans(whole).keys()
