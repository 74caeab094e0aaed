"""Hands the leader's view of each tenant's blocks to the Iceberg tables, on a thread that holds up nothing else."""

import logging
import threading
from collections.abc import Callable

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
        self._changed = threading.Condition()
        self._waiting: dict[str, TenantIndex] = {}
        self._runs = self._ended = False
        # A process that ends does not wait for a catalog: an update that is cut off is done again by the next one.
        self._thread = threading.Thread(target=self._work, name="iceberg-updates", daemon=True)

    def show(self, visible: TenantIndex) -> None:
        """The tenant's table shall have these blocks: those of the index, and of cuts that it does not cover yet."""
        with self._changed:
            if self._ended:
                return
            self._waiting[visible.tenant] = visible
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify_all()

    def end(self) -> None:
        """Starts no further update; one that runs ends soon, or with the process."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()
            tables = self._tables
        if tables is not None:
            tables.cancel()

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Returns when nothing waits or runs; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._runs, timeout_s)

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
        """What to do next, once there is something; None at the end."""
        with self._changed:
            self._runs = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._ended:
                return None
            self._runs = True
            return self._waiting.pop(next(iter(self._waiting)))
