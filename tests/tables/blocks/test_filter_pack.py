"""Packs of filters: a pack says what the filters in it say."""

import uuid
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.blocks.bloom import FilterQuestion, make_filter
from tables.blocks.filter_pack import (
    FilterKey,
    PackedFilter,
    PackHead,
    PackRef,
    decode_head,
    make_pack,
    packed_filters,
)
from tables.errors import DamagedError

PLACE = ("e", 0)


def ids(seed: int, count: int) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(seed).bytes(16 * count), "S16")


def head_of(ref: PackRef, data: bytes) -> PackHead:
    return decode_head("t", ref, data[: ref.head_bytes])


def answers(ref: PackRef, data: bytes, question: FilterQuestion) -> dict[FilterKey, bool]:
    head = head_of(ref, data)
    number = head.slice_of(question)
    start, size = head.range_of(number)
    return head.answers(question, head.checked(number, data[start : start + size]))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=12), st.integers(0, 1000))
def test_a_pack_says_what_its_filters_say(counts: list[int], seed: int) -> None:
    traces = [ids(seed + number, count) for number, count in enumerate(counts)]
    filters = [
        PackedFilter(FilterKey(f"b{number}", 0, number), make_filter(some)) for number, some in enumerate(traces)
    ]
    ref, data = make_pack(PLACE, filters)
    assert make_pack(PLACE, filters) == (ref, data)
    assert ref.size_bytes == len(data)
    assert packed_filters("t", ref, data) == filters
    asked = [one.ljust(16, b"\0") for some in traces for one in some[:3].tolist()]
    asked += [one.ljust(16, b"\0") for one in ids(10**6 + seed, 20).tolist()]
    for one in asked:
        question = FilterQuestion(one)
        assert answers(ref, data, question) == {key: question.may_be_in(own) for key, own in filters}


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=40), st.integers(0, 1000))
def test_where_a_slice_lies_is_known_without_the_head(counts: list[int], seed: int) -> None:
    """Of blocks with ids as they have them: what the index says of the pack is enough to read both in one request."""
    random = np.random.default_rng(seed)
    filters = [
        PackedFilter(
            FilterKey(str(uuid.UUID(bytes=random.bytes(16))), 0, int(random.integers(2**32))), bytes(32 * lines)
        )
        for lines in (-(-count * 12 // 256) for count in counts)
    ]
    ref, data = make_pack(PLACE, filters)
    head = head_of(ref, data)
    for _ in range(20):
        question = FilterQuestion(random.bytes(16))
        start, size = head.range_of(head.slice_of(question))
        about = ref.about(question)
        assert about is not None
        assert about[0] <= start
        assert start + size <= sum(about) <= ref.size_bytes
        assert about[1] <= size + 10 * ref.head_bytes
    assert ref.model_copy(update={"slices": 0}).about(question) is None


def test_a_lookup_reads_a_small_part_of_a_large_pack() -> None:
    filters = [PackedFilter(FilterKey(f"b{number}", 0, 0), make_filter(ids(number, 20_000))) for number in range(100)]
    ref, data = make_pack(PLACE, filters)
    head = head_of(ref, data)
    assert len(data) > 3_000_000
    assert len(head.slices) == 32
    assert max(size for _, size, _ in head.slices) < 150_000
    assert ref.head_bytes < 5000


@pytest.mark.parametrize("at", [0, 100, -1], ids=["head", "slice", "end"])
def test_damage_is_noticed(at: int) -> None:
    ref, data = make_pack(PLACE, [PackedFilter(FilterKey("b", 0, 0), make_filter(ids(1, 5000)))])
    at = ref.head_bytes + at if at == 100 else at
    bad = bytearray(data)
    bad[at] ^= 1
    with pytest.raises(DamagedError):
        packed_filters("t", ref, bytes(bad))


def test_a_later_format_is_refused() -> None:
    head = zlib.compress(b'{"format":"stretto-filters2"}')
    ref = PackRef(id="p", cluster_id="e", partition=0, size_bytes=9, head_bytes=len(head), head_crc32=zlib.crc32(head))
    with pytest.raises(DamagedError, match="stretto-filters2"):
        decode_head("t", ref, head)
