"""The tenant index: what is written is read, whatever is damaged is told, and rows become objects only where asked."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.blocks.meta import BlockMeta, FileMeta
from tables.catalog.tenant_index import INDEX, Removed, TenantIndex, decode_index, index_path, index_schema, rows_of
from tables.errors import DamagedError
from tests.helpers.blocks.catalog import block_meta, merged_meta
from tests.helpers.examples import examples

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FILES = st.builds(
    FileMeta, name=TEXT, size_bytes=INT64, spans=INT64, start_min_ns=INT64, end_max_ns=INT64, trace_id_min=TEXT
)
METAS = st.builds(
    BlockMeta,
    block_id=TEXT,
    tenant=TEXT,
    cluster_id=TEXT,
    partition=INT64,
    partition_count=INT64,
    first_offset=INT64,
    last_offset=INT64,
    spans=INT64,
    start_min_ns=INT64,
    end_max_ns=INT64,
    size_bytes=INT64,
    files=st.lists(FILES, max_size=3),
    replaces=st.lists(TEXT, max_size=3),
)
COVERED = st.dictionaries(st.tuples(TEXT, st.integers(0, 9999)), st.integers(0, 2**53), max_size=3)
REMOVED = st.lists(st.builds(Removed, TEXT, st.floats(0, 2**40)), max_size=3).map(tuple)


def index_of(*metas: BlockMeta, **other: Any) -> TenantIndex:
    return TenantIndex("t", 7, rows_of(metas), **other)


def decoded(index: TenantIndex) -> TenantIndex:
    return decode_index(index_path(index.tenant, index.version), index.encode())


@given(metas=st.lists(METAS, max_size=4), covered=COVERED, removed=REMOVED)
def test_round_trip(metas: list[BlockMeta], covered: Any, removed: Any) -> None:
    index = TenantIndex("t", 7, rows_of(metas), covered, removed)
    read = decoded(index)
    assert read == index
    assert read.metas() == metas
    assert read.encode() == index.encode()


@settings(max_examples=examples(40))
@given(st.data())
def test_any_other_byte_is_damage(data: st.DataObject) -> None:
    """One byte changed, bytes missing, bytes too many: never another index, never another error."""
    index = index_of(block_meta(0, 9), block_meta(10, 19), covered={("c", 0): 20}, removed=(Removed("x", 1.5),))
    good = index.encode()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = data.draw(
        st.sampled_from(
            [
                good[:at],
                good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :],
                good[:at] + b"\0" + good[at:],
            ]
        )
    )
    with pytest.raises(DamagedError, match=r"index/t/0+7\.arrow"):
        decode_index(index_path("t", 7), bad)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    with pytest.raises(DamagedError):
        decode_index(index_path("t", 7), data)


@pytest.mark.parametrize("path", [index_path("u", 7), index_path("t", 8)])
def test_the_index_of_somebody_else(path: str) -> None:
    with pytest.raises(DamagedError, match="is version 7 of the index of tenant t"):
        decode_index(path, index_of(block_meta(0, 9)).encode())


def test_a_later_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tables.catalog.tenant_index.INDEX", replace(INDEX, format="stretto-index2"))
    data = index_of(block_meta(0, 9)).encode()
    monkeypatch.undo()
    with pytest.raises(DamagedError, match="stretto-index2"):
        decode_index(index_path("t", 7), data)


def test_indexes_of_other_builds() -> None:
    """Columns that they do not have take their defaults; columns that only they have are left out."""
    index = index_of(block_meta(0, 9, received_max_ms=5), block_meta(10, 19, level=2))
    fewer = index.table.drop_columns(["received_max_ms", "replaces"]).append_column("more", pa.array([1, 2]))
    read = decoded(TenantIndex("t", 7, fewer))
    assert read.table.schema.equals(index_schema())
    assert read.metas() == [block_meta(0, 9), block_meta(10, 19, level=2)]


def test_rows_without_what_a_block_must_have() -> None:
    table = rows_of([block_meta(0, 9)]).drop_columns(["first_offset"])
    with pytest.raises(DamagedError, match="a row is not a block"):
        decoded(TenantIndex("t", 7, table))


def test_any_arrow_reader_opens_it() -> None:
    data = index_of(block_meta(0, 9), block_meta(10, 19)).encode()
    assert pa.ipc.open_file(io.BytesIO(data)).read_all()["first_offset"].to_pylist() == [0, 10]


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "rows"),
    [
        pytest.param(None, None, [0, 1, 2], id="open"),
        pytest.param(9_999, 9_999, [0], id="the last of the first"),
        pytest.param(10_000, 19_999, [1], id="the second"),
        pytest.param(5_000, 10_000, [0, 1], id="two"),
        pytest.param(30_000, None, [], id="after"),
        pytest.param(None, -1, [], id="before"),
    ],
)
def test_overlapping(start_ns: int | None, end_ns: int | None, rows: list[int]) -> None:
    index = index_of(*(block_meta(first, first + 9) for first in (0, 10, 20)))
    assert index.overlapping(start_ns, end_ns).tolist() == rows
    assert [meta.first_offset for meta in index.metas(np.array(rows, np.int64))] == [10 * row for row in rows]


def test_which_blocks_it_names() -> None:
    """Rows, and those that were rows: their objects are still read by somebody."""
    metas = [block_meta(0, 9), block_meta(10, 19)]
    index = index_of(*metas, removed=(Removed("gone", 1.0),))
    assert index.rows_with([metas[1].block_id, "unknown"]).tolist() == [1]
    assert index.meta_of(metas[1].block_id) == metas[1]
    assert index.meta_of("gone") is None
    names = [index.names(block_id) for block_id in (metas[0].block_id, "gone", merged_meta(metas).block_id)]
    assert names == [True, True, False]
