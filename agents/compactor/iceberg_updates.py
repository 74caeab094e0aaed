"""Hands the leader's view of each tenant's blocks to the Iceberg tables, on a thread that holds up nothing else."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tables.catalog.tenant_index import TenantIndex
from tables.errors import StorageError
from tables.iceberg.sync import IcebergTables

log = logging.getLogger(__name__)


class IcebergUpdates:
    """Thread-safe. Of a tenant only the newest state waits: what came between is skipped."""

    def __init__(self, open_tables: Callable[[], IcebergTables]) -> None:
        """open_tables: called once, on the thread; again if it raises StorageError"""
        self._open = open_tables
        self._tables: IcebergTables | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, TenantIndex] = {}
        self._runs = self._ended = False
        self._executor = ThreadPoolExecutor(1, "iceberg-updates")

    def show(self, visible: TenantIndex) -> None:
        """The tenant's table shall have these blocks: those of the index, and of cuts that it does not cover yet."""
        with self._lock:
            if self._ended:
                return
            self._waiting[visible.tenant] = visible
            if not self._runs:
                self._runs = True
                self._executor.submit(self._work)

    def end(self) -> None:
        """Starts no further update; one that runs ends soon."""
        with self._lock:
            self._ended = True
            self._waiting.clear()
        if self._tables is not None:
            self._tables.cancel()
        self._executor.shutdown(wait=False)

    def wait(self) -> None:
        """Returns when nothing waits or runs."""
        self._executor.submit(lambda: None).result()

    def _work(self) -> None:
        while (visible := self._next()) is not None:
            try:
                if self._tables is None:
                    self._tables = self._open()
                self._tables.sync(visible)
            except StorageError as err:
                log.warning("an Iceberg table waits for the next cycle: %s", err)
            except Exception:  # the next tenant's table must not wait for a bug
                log.exception("the Iceberg table of tenant %s was not updated", visible.tenant)

    def _next(self) -> TenantIndex | None:
        with self._lock:
            if not self._waiting:
                self._runs = False
                return None
            return self._waiting.pop(next(iter(self._waiting)))
