"""Parts of objects that are read before a query asks for them: most of the time of a remote read is waiting.

A query evaluates one file after the other. Meanwhile a few threads read what it will need of the next ones. What has
come waits here until the query takes it; what the query does not need after all is given up at its end.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from prometheus_client import Gauge

from tables.shared_bytes import SharedBytes
from tables.wall import walled

_BYTES = Gauge("stretto_read_ahead_bytes", "Bytes that queries have read from storage, or are reading, in advance.")

Range = tuple[int, int]  # start and length
Reserve = Callable[[int], bool]  # whether there is room for so many bytes
# Gives parts of an object, or nothing if there is no room for them.
Fetch = Callable[[Reserve], Mapping[Range, Any]]


class AheadBytes(SharedBytes):
    """What all queries of a process may have read ahead together."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max, _BYTES)


@dataclass(slots=True, eq=False)
class _Job:
    """What is being read of one object. names: of it, as the caller has them; parts: what has come and nobody has taken
    yet; reserved: their bytes
    """

    fetch: Fetch
    names: frozenset[str] = frozenset()
    future: "Future[Any] | None" = None
    parts: dict[Range, Any] | None = None
    reserved: int = 0
    given_up: bool = False
    ran_here: bool = False


class ReadAhead:
    """What one query has begun to read. Thread-safe: a query's reads may be on several threads."""

    def __init__(self, pool: Executor, limit: AheadBytes) -> None:
        self._pool, self._limit = pool, limit
        self._lock = threading.Lock()
        self._jobs: dict[str, list[_Job]] = {}

    def begin(self, path: str, fetch: Fetch, names: Collection[str] = ()) -> None:
        """Begins to read parts of an object on another thread, in a copy of this context: requests count for whoever
        they are made for. names: what `names` gives
        """
        job = _Job(fetch, frozenset(names))
        job.future = self._pool.submit(copy_context().run, partial(walled, self._run, job))
        with self._lock:
            self._jobs.setdefault(path, []).append(job)

    def has_begun(self, path: str) -> bool:
        """Whether something of the object is being read, or has come and was not taken."""
        with self._lock:
            return path in self._jobs

    def names(self, path: str) -> frozenset[str]:
        """Names of what is being read of the object, or has come and was not all taken."""
        return frozenset().union(*(job.names for job in self._jobs_of(path)))

    def take(self, path: str, ranges: Sequence[Range]) -> dict[Range, Any]:
        """Those of the parts that were read ahead. Waits for reads of the object that are under way; what waits for a
        thread is read here.

        Raises: what such a read raised
        """
        found: dict[Range, Any] = {}
        for job in self._jobs_of(path):
            if len(found) == len(ranges):
                break
            self._finish(path, job)
            found |= self._taken(job, ranges)
            if not job.parts:
                self._forget(path, job)
        return found

    def wait_for(self, path: str) -> None:
        """Until what has begun to be read of an object has come: for what puts it elsewhere. Raises: as `take`"""
        for job in self._jobs_of(path):
            self._finish(path, job)
            if not job.parts:
                self._forget(path, job)

    def _jobs_of(self, path: str) -> list[_Job]:
        with self._lock:
            return list(self._jobs.get(path, ()))

    def _finish(self, path: str, job: _Job) -> None:
        assert job.future is not None
        try:
            if job.future.cancel():
                self._run_here(job)
            else:
                job.future.result()
        except BaseException:
            self._forget(path, job)
            raise

    def close(self) -> None:
        """Gives up what nobody has taken. A request that is under way ends by itself, and frees its bytes then."""
        with self._lock:
            jobs = [(path, job) for path, of_path in self._jobs.items() for job in of_path]
        for path, job in jobs:
            assert job.future is not None
            job.future.cancel()
            self._forget(path, job)

    def _run_here(self, job: _Job) -> None:
        """What waits for a thread: here is one."""
        with self._lock:
            began, job.ran_here = job.ran_here, True
        if not began:
            copy_context().run(self._run, job)

    def _run(self, job: _Job) -> None:
        _CURRENT.set(None)  # of this copy of the context: what is read here is not read ahead once more

        def reserve(size: int) -> bool:
            with self._lock:
                if job.given_up or not self._limit.take_bytes(size):
                    return False
                job.reserved += size
                return True

        try:
            parts = dict(job.fetch(reserve))
        except BaseException:
            self._free(job)
            raise
        with self._lock:
            if not job.given_up:
                job.parts = parts
                return
        self._free(job)

    def _taken(self, job: _Job, ranges: Sequence[Range]) -> dict[Range, Any]:
        with self._lock:
            if job.parts is None:
                return {}
            found = {one: job.parts.pop(one) for one in ranges if one in job.parts}
            size = min(job.reserved, sum(length for _, length in found)) if job.parts else job.reserved
            job.reserved -= size
        self._limit.give_back_bytes(size)
        return found

    def _forget(self, path: str, job: _Job) -> None:
        with self._lock:
            left = [one for one in self._jobs.get(path, ()) if one is not job]
            if left:
                self._jobs[path] = left
            else:
                self._jobs.pop(path, None)
            job.given_up = True
            has_come = job.parts is not None
        if has_come:
            self._free(job)

    def _free(self, job: _Job) -> None:
        with self._lock:
            size, job.reserved, job.parts = job.reserved, 0, None
        self._limit.give_back_bytes(size)


_CURRENT: Final[ContextVar[ReadAhead | None]] = ContextVar("read ahead", default=None)


def current_read_ahead() -> ReadAhead | None:
    """That of the query which this thread works on; None: nothing is read ahead."""
    return _CURRENT.get()


@contextmanager
def reading_ahead(ahead: ReadAhead) -> Iterator[None]:
    """Inside, it is that of this thread; at the end it is closed."""
    token = _CURRENT.set(ahead)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        ahead.close()
