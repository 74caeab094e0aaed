"""Values for columns of Parquet files, and how their bytes are read."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tables.parquet.read import ParquetSource
from tables.schema import EVENT, FIXED, LINK, OVERFLOW
from tables.storage.byte_cache import ByteCache
from tests.helpers.files import file_of

TEXTS = st.sampled_from(["", "a", "bb", "ä" * 40])
WORDS = st.one_of(st.none(), TEXTS)
EVENTS = st.fixed_dictionaries(
    {
        "time_ns": st.integers(0, 9),
        "name": WORDS,
        "attributes": st.lists(st.fixed_dictionaries({"key": WORDS, "string_value": WORDS}), max_size=2),
        "dropped_attributes_count": st.none(),
    }
)
KEY_VALUES = st.fixed_dictionaries(
    {
        "key": WORDS,
        "bool_value": st.sampled_from([None, True, False]),
        "int_value": st.sampled_from([None, -1, 7]),
        "double_value": st.sampled_from([None, -0.0, 1.5]),
        "bytes_value": st.sampled_from([None, b"", b"\0\1"]),
    }
)
LINKS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "trace_id": st.sampled_from([None, b"t" * 16]),
            "attributes": st.one_of(st.none(), st.lists(st.one_of(st.none(), KEY_VALUES), max_size=3)),
            "flags": st.sampled_from([None, 0, (1 << 32) - 1]),
        }
    ),
)
ENTRIES = st.fixed_dictionaries({"column": TEXTS, "int_value": st.sampled_from([None, 1])})
SAME_LENGTH = st.integers(0, 999).map(lambda number: f"{number:03}")
COLUMNS: dict[str, tuple[Any, Any]] = {
    "trace_id": (pa.binary(16), st.sampled_from([bytes(16), b"\xff" * 16, b"a" * 16])),
    "span_id": (pa.binary(8), st.binary(min_size=8, max_size=8)),
    "start_ns": (pa.int64(), st.integers(-9, 1 << 62)),
    "name": (pa.string(), TEXTS),
    "kind": (pa.int8(), st.integers(-128, 127)),
    "status_code": (pa.int8(), st.sampled_from([0, 1, 2])),
    "nested_left": (pa.int32(), st.integers(-5, 5)),
    "trace_start_ns": (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "flags": (pa.uint32(), st.integers(0, (1 << 32) - 1)),
    "raw": (pa.binary(), st.sampled_from([None, b"", b"raw"])),
    "resource.service.name": (pa.string(), WORDS),
    "span.word": (pa.string(), WORDS),
    "span.id": (pa.string(), st.one_of(st.none(), SAME_LENGTH)),
    "span.number:int": (pa.int64(), st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1))),
    "span.share:double": (pa.float64(), st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf")])),
    "span.zero:double": (pa.float64(), st.sampled_from([0.0, -0.0])),
    "span.flag:bool": (pa.bool_(), st.sampled_from([None, True, False])),
    "span.bytes:bytes": (pa.binary(), st.sampled_from([None, b"b"])),
    "span.tags:string[]": (pa.list_(pa.string()), st.one_of(st.none(), st.lists(WORDS, max_size=3))),
    "span.flags:bool[]": (pa.list_(pa.bool_()), st.one_of(st.none(), st.lists(st.booleans(), max_size=3))),
    "events": (pa.list_(EVENT), st.one_of(st.none(), st.just([]), st.lists(EVENTS, max_size=3))),
    "links": (pa.list_(LINK), st.one_of(st.just([]), st.lists(LINKS, max_size=2))),
    "overflow": (pa.list_(OVERFLOW), st.one_of(st.none(), st.lists(ENTRIES, max_size=2))),
}


@st.composite
def span_tables(draw: st.DrawFn) -> pa.Table:
    """Tables of few distinct values, and of columns that are mostly empty, for each kind of page."""
    rows = draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    columns = {}
    for name in draw(st.sets(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=6)):
        type_, values = COLUMNS[name]
        distinct = draw(st.lists(values, min_size=1, max_size=5))
        codes = random.integers(0, len(distinct), rows)
        if draw(st.booleans()):  # the first value nearly everywhere
            codes[random.random(rows) < 0.9] = 0
        array = pa.array([distinct[code] for code in codes], type_)
        if type_ == pa.string() and draw(st.booleans()):
            array = array.dictionary_encode()
        # As columns come: parts of longer ones.
        first = draw(st.integers(0, rows // 2))
        columns[name] = pa.concat_arrays([array.slice(0, first), array]).slice(first)
    return pa.table(columns)


def bits(array: Any) -> Any:
    """To compare: zeros and not-a-numbers by their bits."""
    return array.view(pa.int64()) if array.type == pa.float64() else array


def source_of(data: Any, rows: int) -> ParquetSource:
    return ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 24), rows)


def plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def many_spans(rows: int, *, size: int = 1) -> pa.Table:
    """Two spans a trace. size: of the largest values"""
    number = np.arange(rows)
    ids = np.stack([number // 2, number // 2], axis=1).astype(">u8").tobytes()
    spans = np.arange(1, rows + 1).astype(">u8").tobytes()
    fixed = [field for field in FIXED if not pa.types.is_fixed_size_binary(field.type)]
    rest = {field.name: pa.array([0 if pa.types.is_integer(field.type) else ""] * rows, field.type) for field in fixed}
    return pa.table(
        {
            **rest,
            "trace_id": pa.Array.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(ids)]),
            "span_id": pa.Array.from_buffers(pa.binary(8), rows, [None, pa.py_buffer(spans)]),
            "parent_span_id": pa.Array.from_buffers(pa.binary(8), rows, [None, pa.py_buffer(bytes(8 * rows))]),
            "name": pa.array(number % 7).cast(pa.string()),
            "start_ns": pa.array(number),
            "duration_ns": pa.array(number % 5),
            "kind": pa.array(number % 3, pa.int8()),
            "status_code": pa.array(number % 2, pa.int8()),
            "span.unique": pa.array(number).cast(pa.string()),
            "span.large": pa.array([None if n % 4 else f"{n}" * size for n in number.tolist()]),
            "span.tags:string[]": pa.array([["a"] * (n % 3) for n in number.tolist()]),
            **{f"span.more{n}:int": pa.array(number % n) for n in range(1, 5)},
        }
    )
