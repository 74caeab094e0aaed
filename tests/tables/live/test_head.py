"""What a head gives to searches while records come in."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.live.head import Head
from tables.live.shared_records import HeadRecord
from tables.wire import record
from tests.helpers.live.whole_way import DECODER, request, span


def item(offset: int, spans: int = 1) -> HeadRecord:
    body = request([span(1000 * (offset + 1) + n) for n in range(spans)], service_name="s")
    value, _ = record.encode(DECODER.decode([body]).spans)
    return HeadRecord(offset, spans, value)


def ids(head: Head, count: int) -> Counter[bytes]:
    return Counter(one for source in head.sources(count) for one in source.read(["span_id"])["span_id"].to_pylist())


def of(offset: int, spans: int = 1) -> Counter[bytes]:
    return Counter((1000 * (offset + 1) + n).to_bytes(8, "big") for n in range(spans))


@given(st.lists(st.one_of(st.integers(1, 4), st.just("query")), max_size=25))
def test_each_span_once(steps: list[int | str]) -> None:
    """However queries and records alternate; few chunks are kept, the older the larger."""
    head, expected, offset = Head(), Counter[bytes](), 0
    for step in [*steps, "query"]:
        if isinstance(step, int):
            head.append(item(offset, step))
            expected += of(offset, step)
            offset += 1
        else:
            assert ids(head, offset) == expected
            sizes = [chunk.spans for chunk in head._chunks]
            assert all(older > younger for older, younger in itertools.pairwise(sizes))
            assert sum(sizes) == expected.total()


def test_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while searches get what was shredded for one before; look-ups by id find everything at once."""
    now_s = 100.0
    monkeypatch.setattr("tables.live.head.time.monotonic", lambda: now_s)
    head = Head(reuse_s=0.05)
    head.append(item(0))
    assert ids(head, 1) == of(0)
    head.append(item(1))
    now_s += 0.04
    assert ids(head, 2) == of(0)
    trace_id = np.frombuffer(span(1).trace_id, np.uint8).tobytes()
    assert sum(source.rows for source in head.trace_sources(trace_id, 2)) == 2
    now_s += 0.02
    assert ids(head, 2) == of(0) + of(1)


class EnoughError(Exception):
    """Nobody waits any more."""


def test_a_query_that_is_given_up_leaves_the_head_as_it_was() -> None:
    """The next one finds every span, and what was shredded before is not shredded again."""
    head = Head()
    head.append(item(0, 4))
    assert ids(head, 1) == of(0, 4)
    before = list(head._chunks)
    head.append(item(1, 8))

    def stop() -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        head.sources(2, stop)
    assert head._chunks == before
    with pytest.raises(EnoughError):
        head.trace_sources(span(1).trace_id, 2, stop)
    assert ids(head, 2) == of(0, 4) + of(1, 8)


def test_waiting_for_another_query_is_given_up_too() -> None:
    head = Head()
    head.append(item(0))
    asked = iter([False, False, True])

    def stop() -> None:
        if next(asked):
            raise EnoughError

    with head._lock, pytest.raises(EnoughError):
        head.sources(1, stop)
    assert ids(head, 1) == of(0)
