"""Runs requests to a storage: limited, repeated, hedged, counted, and with errors that people understand."""

import random
import time
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final, NamedTuple, TypeVar

from obstore import exceptions

from tables.errors import StorageError
from tables.storage.backends import RETRIES_SHARE
from tables.storage.config import StorageConfig
from tables.storage.hedging import HedgedReads
from tables.storage.request_errors import FAILURES, explain, is_missing_place, is_not_repeated, retries_of, status_of
from tables.storage.request_metrics import RequestMetrics
from tables.storage.request_slots import RequestSlots
from tables.storage.request_usage import current_usage

T = TypeVar("T")

# obstore runs so many requests of one call at a time.
AT_ONCE_MAX: Final = 10
_WRITES: Final = frozenset({"put", "create", "delete"})
_PUTS: Final = frozenset({"put", "create"})


class StorageRequest(NamedTuple):
    """What is asked of the storage.

    operation: get, get_range, head, list, put, create or delete; verb: the same for errors
    requests: how many it takes; size_bytes: of what is written
    """

    operation: str
    verb: str
    path: str
    requests: int = 1
    size_bytes: int = 0


class RequestRunner:
    """Sends requests to a storage, with limits, retries and metrics. Thread-safe; a storage has one."""

    def __init__(self, config: StorageConfig) -> None:
        self._config = config
        self._metrics = RequestMetrics(config.backend)
        # A disk has its own queue.
        self._limited = config.backend != "local"
        self._slots = RequestSlots(config.concurrent_requests_max, self._metrics)
        self._hedged: HedgedReads | None = None
        if config.hedging.at_s and self._limited:
            self._hedged = HedgedReads(config.hedging, config.read_timeout_s, self._slots, self._metrics)

    def read(
        self,
        ask: StorageRequest,
        work: Callable[[], T],
        hedged: Callable[[], Awaitable[T]],
        size: "Callable[[T], int] | None" = None,
    ) -> T:
        """As `run`, for a read: `hedged` makes a request that can be cancelled, and may be called again."""
        hedges = self._hedged
        if hedges is None:
            return self.run(ask, work, size)
        return self.run(ask, lambda: hedges.run(ask.operation, hedged), size)

    def run(self, ask: StorageRequest, work: Callable[[], T], size: Callable[[T], int] | None = None) -> T:
        """What `work` returns, counted. size: the bytes of it

        Raises: FileNotFoundError, AlreadyExistsError; StorageError for any other failure
        """
        config = self._config
        timeout_s = config.write_timeout_s if ask.operation in _WRITES else config.read_timeout_s
        usage = current_usage()
        if usage is not None:
            usage.begin()
        try:
            if self._limited:
                with self._slots.taken(min(ask.requests, AT_ONCE_MAX), timeout_s):
                    result, seconds = self._attempts(ask, work, timeout_s)
            else:
                result, seconds = self._attempts(ask, work, timeout_s)
        except (exceptions.AlreadyExistsError, StorageError):
            raise
        except FAILURES as err:
            # A write that finds nothing, or an answer that says so: the bucket is missing, not an object.
            if isinstance(err, FileNotFoundError) and not (ask.operation in _PUTS or is_missing_place(err)):
                raise
            raise StorageError(f"cannot {ask.verb} {ask.path} in {config.where}: {explain(err, timeout_s)}") from err
        finally:
            if usage is not None:
                usage.end()
        self._count(ask, "ok", ask.size_bytes if size is None else size(result), seconds)
        return result

    def _attempts(self, ask: StorageRequest, work: Callable[[], T], timeout_s: float) -> tuple[T, float]:
        """What `work` returns, and the seconds that it took.

        obstore repeats what fails, but not if a connection is reset, or an answer breaks off in its body.
        """
        retry, began_s, attempts = self._config.retry, perf_counter(), 0
        while True:
            try:
                result = work()
            except FAILURES as err:
                attempts += 1 + retries_of(err)
                seconds = perf_counter() - began_s
                again = attempts < retry.max_attempts and seconds < RETRIES_SHARE * timeout_s
                if not (again and is_not_repeated(err)):
                    self._count(ask, status_of(err), 0, seconds)
                    raise
                longest_s = min(retry.backoff_max_s, retry.backoff_initial_s * 2 ** (attempts - 1))
                time.sleep(random.uniform(0, longest_s))  # noqa: S311  jitter
            else:
                return result, perf_counter() - began_s

    def _count(self, ask: StorageRequest, status: str, size_bytes: int, seconds: float) -> None:
        self._metrics.observe(ask.operation, status, ask.requests, size_bytes, seconds)
        if (usage := current_usage()) is not None:
            usage.add(ask.operation, ask.requests, size_bytes, seconds)
