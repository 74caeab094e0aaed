"""The cache: its limit, and who has to go."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.storage import byte_cache
from tables.storage.byte_cache import ByteCache


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    with patch.object(byte_cache, "time", Clock()) as made:
        yield made


def cache_of(*entries: tuple[str, int], bytes_max: int = 100) -> ByteCache[str, str]:
    made: ByteCache[str, str] = ByteCache("test", bytes_max)
    for key, size in entries:
        made.put(key, key.upper(), size)
    return made


def kept(of: ByteCache[str, str], keys: str) -> str:
    return "".join(key for key in keys if of.get(key) is not None)


def test_the_least_recently_used_goes(clock: Clock) -> None:
    """Getting is using."""
    full = cache_of(("a", 40), ("b", 40))
    assert full.get("a") == "A"
    full.put("c", "C", 40)
    assert (kept(full, "abc"), full.bytes) == ("ac", 80)


@pytest.mark.parametrize(
    ("after_s", "size", "left"),
    [
        pytest.param(0, 20, "abc", id="there is room"),
        pytest.param(0, 21, "ab", id="both are in use"),
        pytest.param(59, 21, "ab", id="a still is"),
        pytest.param(61, 21, "bc", id="a is not, b was got"),
        pytest.param(61, 60, "bc", id="just enough"),
        pytest.param(61, 61, "ab", id="b would have to go, too"),
    ],
)
def test_what_passes_spares_what_is_in_use(clock: Clock, after_s: float, size: int, left: str) -> None:
    """It is kept only where what has to go was not used lately; nothing goes for what is not kept."""
    full = cache_of(("a", 40), ("b", 40))
    clock.now_s += after_s
    if after_s > 60:
        full.get("b")
    full.put("c", "C", size, spares_s=60)
    assert kept(full, "abc") == left
    assert full.bytes == sum({"a": 40, "b": 40, "c": size}[key] for key in left)


def test_nothing_larger_than_all(clock: Clock) -> None:
    """And for it nothing goes."""
    full = cache_of(("a", 40), ("b", 101))
    assert kept(full, "ab") == "a"


def test_costly_entries_outlive_others(clock: Clock) -> None:
    """They are evicted by each other only, above their share; and count as bytes of the cache."""
    cache: ByteCache[str, str] = ByteCache("test", 100)
    for key in "ab":
        cache.put(key, key, 6, costly=True)
    for key in "cdefgh":
        cache.put(key, key, 40)
    assert kept(cache, "abcdefgh") == "abgh"
    assert cache.bytes == 92
    cache.get("a")
    cache.put("i", "i", 3, costly=True)
    assert kept(cache, "abgi") == "agi"
    assert cache.size_of("a") == 6
    cache.discard("a")
    assert (kept(cache, "ai"), cache.bytes) == ("i", 83)


def test_what_is_too_large_for_costly_entries_is_one_of_the_others(clock: Clock) -> None:
    cache: ByteCache[str, str] = ByteCache("test", 100)
    cache.put("a", "a", 50, costly=True)
    cache.put("b", "b", 60)
    assert kept(cache, "ab") == "b"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60), st.booleans(), st.booleans()), max_size=30))
def test_bytes_are_those_of_the_entries(steps: list[tuple[str, int, bool, bool]]) -> None:
    cache: ByteCache[str, str] = ByteCache("test", 100)
    for key, size, costly, discards in steps:
        if discards:
            cache.discard(key)
        else:
            cache.put(key, key, size, costly=costly)
        assert cache.bytes == sum(cache.size_of(one) or 0 for one in "abcdef") <= 100
