"""What a query has read before it needs it: the right bytes, within the limit, and nothing is left behind."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.errors import DamagedError
from tables.storage.read_ahead import AheadBytes, Range, ReadAhead, Reserve, current_read_ahead, reading_ahead
from tables.storage.request_usage import RequestUsage, current_usage
from tests.helpers.examples import examples

DATA = bytes(range(256))


def fetch(ranges: Sequence[Range], reserve: Reserve) -> dict[Range, bytes]:
    if not reserve(sum(length for _, length in ranges)):
        return {}
    return {(start, length): DATA[start : start + length] for start, length in ranges}


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


class Gate:
    """A read that goes on when it is told to."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def fetch(self, ranges: Sequence[Range], reserve: Reserve) -> dict[Range, bytes]:
        found = fetch(ranges, reserve)
        self.entered.set()
        assert self.opened.wait(60)
        return found


def test_parts_come_once_and_free_their_bytes(pool: ThreadPoolExecutor) -> None:
    limit = AheadBytes(100)
    with reading_ahead(ReadAhead(pool, limit)):
        ahead = current_read_ahead()
        assert ahead is not None
        gate = Gate()
        ahead.begin("a", partial(gate.fetch, [(0, 10), (20, 30)]))
        assert gate.entered.wait(60)
        gate.opened.set()
        assert ahead.take("a", [(20, 30), (60, 1)]) == {(20, 30): DATA[20:50]}
        assert not limit.take_bytes(91)  # the other part is there still
        assert ahead.take("a", [(0, 10)]) == {(0, 10): DATA[:10]}
        assert ahead.take("a", [(0, 10)]) == {}
        assert not ahead.has_begun("a")
        assert limit.take_bytes(100)
    assert current_read_ahead() is None


def test_what_waits_for_a_thread_is_read_by_who_needs_it() -> None:
    with ThreadPoolExecutor(1) as one:
        gate, ahead = Gate(), ReadAhead(one, AheadBytes(100))
        ahead.begin("a", partial(gate.fetch, [(0, 1)]))
        assert gate.entered.wait(60)
        ahead.begin("b", partial(fetch, [(0, 1), (5, 2)]))
        assert ahead.take("b", [(0, 1)]) == {(0, 1): DATA[:1]}
        assert ahead.take("b", [(5, 2)]) == {(5, 2): DATA[5:7]}
        gate.opened.set()
        ahead.close()


def test_bytes_of_a_read_under_way_come_back_after_the_query(pool: ThreadPoolExecutor) -> None:
    limit, gate = AheadBytes(10), Gate()
    with reading_ahead(ReadAhead(pool, limit)):
        ahead = current_read_ahead()
        assert ahead is not None
        ahead.begin("a", partial(gate.fetch, [(0, 10)]))
        assert gate.entered.wait(60)
    assert not limit.take_bytes(1)
    gate.opened.set()
    # As many jobs as threads: when they have run, so has the one before.
    barrier = threading.Barrier(3)
    list(pool.map(lambda _: barrier.wait(60), range(3)))
    assert limit.take_bytes(10)


def test_an_error_comes_when_the_object_is_read(pool: ThreadPoolExecutor) -> None:
    entered = threading.Event()

    def missing(reserve: Reserve) -> dict[Range, bytes]:
        assert reserve(5)
        entered.set()
        raise DamagedError("a", "is missing")

    limit = AheadBytes(5)
    ahead = ReadAhead(pool, limit)
    ahead.begin("a", missing)
    assert entered.wait(60)
    with pytest.raises(DamagedError, match="is missing"):
        ahead.take("a", [(0, 1)])
    assert ahead.take("a", [(0, 1)]) == {}
    assert limit.take_bytes(5)


def test_requests_count_for_the_query(pool: ThreadPoolExecutor) -> None:
    usage, entered, seen = RequestUsage(), threading.Event(), []

    def count(reserve: Reserve) -> dict[Range, bytes]:
        entered.set()
        seen.append((current_usage(), current_read_ahead()))
        return fetch([(0, 1)], reserve)

    with usage.counting(), reading_ahead(ReadAhead(pool, AheadBytes(5))):
        ahead = current_read_ahead()
        assert ahead is not None
        ahead.begin("a", count)
        assert entered.wait(60)
        assert ahead.take("a", [(0, 1)])
    assert seen == [(usage, None)]


_PATHS = st.sampled_from("ab")
_RANGES = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=3, unique=True)
_STEPS = st.lists(st.tuples(st.booleans(), _PATHS, _RANGES), max_size=12)


@settings(max_examples=examples(65), deadline=None)
@given(steps=_STEPS, room=st.integers(0, 100))
def test_any_order_gives_the_right_bytes_and_leaves_none(
    pool: ThreadPoolExecutor, steps: list[tuple[bool, str, list[Range]]], room: int
) -> None:
    limit = AheadBytes(room)
    ahead = ReadAhead(pool, limit)
    for begins, path, ranges in steps:
        if begins:
            ahead.begin(path, partial(fetch, ranges))
        else:
            found = ahead.take(path, ranges)
            assert found == {one: DATA[one[0] : sum(one)] for one in found}
            assert found.keys() <= set(ranges)
    ahead.close()
    barrier = threading.Barrier(3)
    list(pool.map(lambda _: barrier.wait(60), range(3)))
    assert limit.take_bytes(room)
