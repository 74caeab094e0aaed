"""Brings a tenant's Iceberg table to the state of its visible blocks.

A table names the same Parquet files as the blocks; nothing is copied. What changed since the last time (flushes, a
compaction, retention) becomes one snapshot: new files come, files of replaced and removed blocks go. So every snapshot
has each span once.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from tables.blocks.meta import BlockMeta, FileMeta
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError, StorageError
from tables.iceberg.columns import new_columns
from tables.iceberg.data_files import DataFileFooter, data_file, read_footer
from tables.iceberg.expire import expire
from tables.iceberg.metrics import COLUMNS_LEFT_OUT, COMMITS, FAILURES, FILES
from tables.iceberg.tables import (
    NAME_MAPPING,
    IcebergConfig,
    IcebergError,
    first_line,
    load_table,
    open_catalog,
    write_hint,
)
from tables.storage.object_store import ObjectStore
from tables.storage.urls import object_url

log = logging.getLogger(__name__)

_READERS: Final = 8  # footers that are read at once
_ATTEMPTS: Final = 4  # if others commit meanwhile
# Of a bucket that is full already, so many files come at once: whoever is stopped goes on from there.
_FILES_AT_ONCE: Final = 2000
_FILES_KEPT_MAX: Final = 50_000  # in memory, about 2 KB each

Wanted = Mapping[str, tuple[BlockMeta, FileMeta]]  # by URL


@dataclass(frozen=True, slots=True)
class IcebergChange:
    """What one call of `sync` did to a table.

    left_out: files that cannot be read; their blocks are damaged
    """

    added: int = 0
    removed: int = 0
    left_out: int = 0


class IcebergTables:
    """The Iceberg tables of all tenants of a bucket. Not thread-safe; several processes may sync the same table."""

    def __init__(self, store: ObjectStore, config: IcebergConfig) -> None:
        """Raises: IcebergError if pyiceberg is not installed, or the catalog cannot be opened"""
        self._store, self._config = store, config
        self._catalog = open_catalog(config)
        self._cancelled = threading.Event()
        # What each table was brought to: nothing is asked about a tenant whose blocks are those of the last time.
        self._synced: dict[str, frozenset[str]] = {}
        # By tenant: the newest snapshot that is known, and its files. To read manifests costs a request for each.
        self._files: dict[str, tuple[int, dict[str, Any]]] = {}

    def sync(self, index: TenantIndex, uncovered: Sequence[BlockMeta] = ()) -> IcebergChange:
        """Makes the table of the index's tenant have the files of its blocks, and no others. It may be called at any
        time, and again: what is done already is not done again.

        uncovered: visible blocks of cuts that the index does not cover yet
        Raises: StorageError; the table is then as before, or has a part of the new files, and the next call goes on
        """
        tenant = index.tenant
        state = frozenset(index.table["block_id"].to_pylist()).union(meta.block_id for meta in uncovered)
        if self._synced.get(tenant) == state:
            return IcebergChange()
        blocks = [*index.metas(), *uncovered]
        wanted = {self._url(meta, file): (meta, file) for meta in blocks for file in meta.files}
        try:
            change = self._sync(tenant, wanted, index.version)
        except Exception as err:  # whatever the catalog's client raises
            FAILURES.inc()
            self._synced.pop(tenant, None)
            if isinstance(err, StorageError):
                raise
            raise IcebergError(f"cannot update the Iceberg table of tenant {tenant}: {first_line(err)}") from err
        if not change.left_out:
            self._synced[tenant] = state
        return change

    def cancel(self) -> None:
        """The process ends: a call of `sync` that reads many files raises soon. Thread-safe."""
        self._cancelled.set()

    def _url(self, meta: BlockMeta, file: FileMeta) -> str:
        return object_url(self._store.config, meta.path_of(file))

    def _sync(self, tenant: str, wanted: Wanted, version: int) -> IcebergChange:
        from pyiceberg.exceptions import CommitFailedException

        added = removed = conflicts = 0
        damaged: set[str] = set()
        while True:
            table = load_table(self._catalog, self._store, self._config, tenant)
            there = self._there(tenant, table)
            gone = [there[url] for url in there.keys() - wanted.keys()]
            missing = sorted(wanted.keys() - there.keys() - damaged)
            if not gone:
                missing = missing[:_FILES_AT_ONCE]
            footers, unread = self._footers({url: wanted[url] for url in missing})
            damaged |= unread
            if footers or gone:
                try:
                    new = self._commit(table, footers, gone, version)
                except CommitFailedException:
                    conflicts += 1
                    if conflicts == _ATTEMPTS:
                        raise
                    continue
                added, removed = added + len(footers), removed + len(gone)
                left = {url: file for url, file in there.items() if url in wanted}
                self._keep(tenant, table.metadata.current_snapshot_id, left | new)
            if len(missing) < _FILES_AT_ONCE or gone:
                break
        expire(table, self._config.snapshots_kept_s)
        write_hint(self._store, table, tenant)
        return IcebergChange(added, removed, len(damaged))

    def _footers(self, wanted: Wanted) -> tuple[list[DataFileFooter], set[str]]:
        """The footers of the files, and the URLs of those that are damaged."""
        damaged: set[str] = set()

        def read(url: str) -> DataFileFooter | None:
            if self._cancelled.is_set():
                raise IcebergError("the update of an Iceberg table was cancelled")
            meta, file = wanted[url]
            try:
                return read_footer(self._store, url, meta, file)
            except DamagedError as err:
                log.error("left out of the Iceberg table of tenant %s: %s", meta.tenant, err)
                damaged.add(url)
                return None

        with ThreadPoolExecutor(_READERS, thread_name_prefix="iceberg") as threads:
            found = [footer for footer in threads.map(read, wanted) if footer is not None]
        FILES.labels("left_out").inc(len(damaged))
        return found, damaged

    def _there(self, tenant: str, table: Any) -> Mapping[str, Any]:
        """The files of the newest snapshot, by URL."""
        snapshot_id, files = self._files.get(tenant, (None, {}))
        return files if snapshot_id == table.metadata.current_snapshot_id else data_files(table)

    def _keep(self, tenant: str, snapshot_id: int, files: dict[str, Any]) -> None:
        self._files[tenant] = snapshot_id, files
        if sum(len(kept) for _, kept in self._files.values()) > _FILES_KEPT_MAX:
            self._files.clear()

    def _commit(
        self, table: Any, footers: Sequence[DataFileFooter], gone: Collection[Any], version: int
    ) -> dict[str, Any]:
        """One commit: columns that are new, files that are new, files that are gone. Returns the new files by URL."""
        known = {field.name for field in table.schema().fields}
        lacking, unfit = new_columns(known, (footer.types for footer in footers), self._config.columns_max)
        began_s = time.monotonic()
        with table.transaction() as change:
            if len(lacking):
                with change.update_schema() as update:
                    update.union_by_name(lacking)
            schema = change.table_metadata.schema()
            if len(lacking) or change.table_metadata.name_mapping() is None:
                change.set_properties({NAME_MAPPING: schema.name_mapping.model_dump_json()})
            snapshot = change.update_snapshot(snapshot_properties={"stretto.index-version": str(version)})
            # Only to append is cheaper, and leaves out manifests of files that are gone.
            with snapshot.overwrite() if gone else snapshot.merge_append() as files:
                spec_id = change.table_metadata.default_spec_id
                new = {footer.url: data_file(footer, schema, spec_id) for footer in footers}
                for each in new.values():
                    files.append_data_file(each)
                for each in gone:
                    files.delete_data_file(each)
        COMMITS.inc()
        FILES.labels("added").inc(len(footers))
        FILES.labels("removed").inc(len(gone))
        COLUMNS_LEFT_OUT.inc(len(unfit))
        log.info(
            "Iceberg table %s: %d files came, %d went, %d new columns, %.1f s",
            ".".join(table.name()), len(footers), len(gone), len(lacking), time.monotonic() - began_s,
        )  # fmt: skip
        return new


def data_files(table: Any) -> dict[str, Any]:
    """The data files of the table's newest snapshot, by URL."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return {}
    entries = (entry for manifest in snapshot.manifests(table.io) for entry in manifest.fetch_manifest_entry(table.io))
    return {entry.data_file.file_path: entry.data_file for entry in entries}
