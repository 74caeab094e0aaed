"""Several reads at once: each has its result or its error, unless the storage is away."""

import threading

import pytest

from tables.errors import DamagedError, StorageError
from tables.storage.read_many import read_many
from tables.storage.request_usage import RequestUsage, current_usage


def test_each_has_its_own_result() -> None:
    def read(key: int) -> int:
        if key == 3:
            raise DamagedError("x", "is missing")
        if key == 4:
            raise StorageError("too late")
        return key * 2

    found = read_many(read, range(6))
    assert [found[key] for key in (0, 1, 2, 5)] == [0, 2, 4, 10]
    assert (str(found[3]), str(found[4])) == ("x is missing", "too late")
    assert read_many(read, []) == {}


def test_reads_overlap() -> None:
    """Each waits until all have begun."""
    all_there = threading.Barrier(8, timeout=20)
    assert len(read_many(lambda _: all_there.wait(), range(8))) == 8


@pytest.mark.parametrize(("error", "raised"), [(DamagedError("x", "is missing"), False), (StorageError("away"), True)])
def test_a_storage_that_is_away(error: StorageError, raised: bool) -> None:
    """It is not asked a thousand times, each time until the timeout. Damaged objects are no sign of it."""
    asked: list[int] = []

    def read(key: int) -> int:
        asked.append(key)
        raise error

    if raised:
        with pytest.raises(StorageError, match="away"):
            read_many(read, range(1000))
        assert len(asked) < 20
    else:
        assert len(read_many(read, range(100))) == len(asked) == 100


def test_requests_count_for_whoever_asks() -> None:
    """The threads know for whom they read."""
    usage = RequestUsage()
    with usage.counting():
        found = read_many(lambda _: current_usage(), range(3))
    assert all(one is usage for one in found.values())
