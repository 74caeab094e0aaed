"""Segments on local disk: a Faust table over RocksDB, without a changelog.

The topic `spans` is the changelog: what is missing here is made again from it. Keys carry the cluster_id (the Kafka
cluster), so that offsets of another cluster are never taken for this one's.

    i<cluster id>/<partition>/<tenant>/<first offset>   what a segment is: JSON
    d<cluster id>/<partition>/<tenant>/<first offset>   its Parquet bytes
    k<cluster id>/<partition>                           the sealed offset: every record below it is in a segment
                                                        or in a block
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import faust
import orjson
import rocksdict
from faust.stores import base
from yarl import URL

from tables.errors import OutdatedError, StorageError, WireError
from tables.schema import SCHEMA_VERSION, unknown_version

_END: Final = b"\xff"
_BLOB_BYTES_MIN: Final = 4096
_BLOB_FILE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A sealed part of a partition: one tenant's spans of the records from first_offset to last_offset."""

    tenant: str
    partition: int
    first_offset: int
    last_offset: int
    spans: int
    size_bytes: int
    start_min_ns: int
    end_max_ns: int
    first_timestamp_ms: int  # of the record at first_offset, as the broker set it
    last_timestamp_ms: int = 0  # the greatest of its records; 0 in segments of earlier versions
    # Among how many partitions the writers had split the traces; SEVERAL: not all the same; None: not known.
    partition_count: int | None = None
    schema: int = SCHEMA_VERSION  # version of the span table (`tables.schema`) in its Parquet file


_NAMES: Final = tuple(field.name for field in fields(SegmentInfo))
_FIRST_SCHEMA: Final = 1  # of a segment that does not say which


@dataclass(frozen=True, slots=True)
class RocksOptions:
    """Memory and file limits of the database."""

    write_buffer_bytes: int = 16 << 20
    block_cache_bytes: int = 8 << 20


class SegmentStore(base.Store):  # type: ignore[misc]  # Faust has no types here
    """RocksDB for one worker. Values are megabytes: uncompressed (Parquet already is) and few."""

    def __init__(self, url: URL, app: Any, table: Any, path: Path, options: RocksOptions) -> None:
        super().__init__(url, app, table)
        self.path = path
        self._options = options
        self._db: Any = None

    @property
    def db(self) -> Any:
        """The open database. Raises: StorageError if another process has it open"""
        if self._db is None:
            self._db = self._open()
        return self._db

    def _open(self) -> Any:
        self.path.mkdir(parents=True, exist_ok=True)
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(self._options.write_buffer_bytes)
        options.set_max_write_buffer_number(2)
        options.set_compression_type(rocksdict.DBCompressionType.none())
        options.set_keep_log_file_num(2)
        # Values beside the tree: compactions need not write megabytes again. They go in the order in which they came,
        # so that files of them become free as wholes, without a collector.
        options.set_enable_blob_files(True)
        options.set_min_blob_size(_BLOB_BYTES_MIN)
        options.set_blob_file_size(_BLOB_FILE_BYTES)
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(rocksdict.Cache(self._options.block_cache_bytes))
        options.set_block_based_table_factory(blocks)
        try:
            return rocksdict.Rdict(str(self.path), options)
        except Exception as err:  # rocksdict raises plain Exception
            raise StorageError(
                f"cannot open the live store's segments in {self.path}: {err}; does another worker use this data_dir?"
            ) from err

    def close(self) -> None:
        """Flushes buffers and closes the files."""
        if self._db is not None:
            self._db.close()
            self._db = None

    async def on_stop(self) -> None:
        self.close()

    def __getitem__(self, key: bytes) -> bytes:
        value = self.db.get(key)
        if value is None:
            raise KeyError(key)
        return bytes(value)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.db[key] = value

    def __delitem__(self, key: bytes) -> None:
        del self.db[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.db.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # What a Faust store must have, and what it means without a changelog.
    def apply_changelog_batch(self, *_: Any, **__: Any) -> None:
        """Does nothing: there is no changelog."""

    def reset_state(self) -> None:
        """Deletes everything; the topic has it."""
        self.db.delete_range(b"", _END)

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Does nothing: the topic is the backup."""

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """Does nothing: the topic is the backup."""


class SegmentTable(faust.Table):  # type: ignore[misc]  # Faust has no types here
    """Segments by (partition, tenant, first offset). Not registered with `app.tables`: it has no changelog to recover
    from, and its keys are set from background threads, outside of any stream.
    """

    def __init__(self, app: Any, path: Path, options: RocksOptions | None = None) -> None:
        super().__init__(app, name="segments")
        self._path = path
        self._rocks_options = options or RocksOptions()

    def _new_store(self) -> SegmentStore:
        return SegmentStore(URL("stretto-segments:"), self.app, self, self._path, self._rocks_options)

    def on_key_set(self, key: bytes, value: bytes) -> None:
        """Does nothing: there is no changelog."""

    def on_key_del(self, key: bytes) -> None:
        """Does nothing: there is no changelog."""

    async def on_start(self) -> None:
        """Opens the database; a Faust table would declare its changelog topic here."""
        await self.add_runtime_dependency(self.data)

    def open(self, cluster_id: str) -> "Segments":
        """Opens the segments of one Kafka cluster, and deletes those of other clusters."""
        segments = Segments(self.data.db, cluster_id)
        segments.delete_other_clusters()
        return segments

    def close(self) -> None:
        """Closes the database; for use without a running Faust worker."""
        self.data.close()


def _info(value: bytes) -> SegmentInfo:
    """What a segment is. What later builds add to it is ignored. Raises: WireError"""
    try:
        said = {"schema": _FIRST_SCHEMA, **orjson.loads(value)}
        info = SegmentInfo(**{name: said[name] for name in _NAMES if name in said})
    except (ValueError, TypeError) as err:
        raise WireError(f"not the description of a segment: {err}") from err
    if info.schema > SCHEMA_VERSION:
        raise WireError(f"a segment {unknown_version(str(info.schema))}")
    return info


def _description(info: SegmentInfo) -> bytes:
    """What `_info` reads. Builds of before the field `schema` refuse it: after a way back they have to read this."""
    said = asdict(info)
    if info.schema == _FIRST_SCHEMA:
        del said["schema"]
    return orjson.dumps(said)


class Segments:
    """The live store's operations on the table. Thread-safe, as RocksDB is."""

    def __init__(self, db: Any, cluster_id: str) -> None:
        self._db = db
        self._cluster_id = cluster_id.encode()

    def put(self, info: SegmentInfo, data: Any) -> None:
        """Stores a segment. Both keys are written in one batch."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        key = self._key(info)
        batch.put(b"d" + key, memoryview(data).tobytes())
        batch.put(b"i" + key, _description(info))
        self._write(batch, f"segment {info.partition}/{info.tenant}/{info.first_offset}")

    def data(self, info: SegmentInfo) -> bytes:
        """A segment's Parquet bytes. Raises: OutdatedError if it is gone: blocks have its spans"""
        value = self._db.get(b"d" + self._key(info))
        if value is None:
            raise OutdatedError(
                f"segment {info.partition}/{info.tenant}/{info.first_offset} is not in the live store any more"
            )
        return bytes(value)

    def copy(self, info: SegmentInfo) -> bytes | None:
        """As `data`, for a segment that is in a block: None if it is gone or replaced."""
        key = self._key(info)
        data = self._db.get(b"d" + key)
        kept = self._db.get(b"i" + key)  # after its data: both change at once
        return bytes(data) if data is not None and kept is not None and _info(kept) == info else None

    def delete(self, infos: list[SegmentInfo]) -> None:
        """Deletes segments with their bytes."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for info in infos:
            key = self._key(info)
            batch.delete(b"i" + key)
            batch.delete(b"d" + key)
        self._write(batch, "the deletion of segments")

    def of_partition(self, partition: int) -> list[SegmentInfo]:
        """The segments of a partition, by tenant and offset. Raises: WireError if this build cannot read one of them"""
        prefix = b"i%b/%05d/" % (self._cluster_id, partition)
        return [_info(value) for _, value in self._scan(prefix)]

    def clear(self, partition: int) -> None:
        """Deletes all segments of a partition, also those that this build cannot read, and the sealed offset."""
        for kind in (b"i", b"d"):
            prefix = b"%b%b/%05d/" % (kind, self._cluster_id, partition)
            self._db.delete_range(prefix, prefix + _END)
        self.set_sealed_offset(partition, 0)

    def set_sealed_offset(self, partition: int, offset: int) -> None:
        """Stores the sealed offset: every record below it is in a segment or in a block."""
        self._db[self._mark_key(partition)] = b"%d" % offset

    def sealed_offset(self, partition: int) -> int:
        """The stored sealed offset of a partition; 0 if unknown."""
        value = self._db.get(self._mark_key(partition))
        return 0 if value is None else int(value)

    def delete_other_clusters(self) -> None:
        """Deletes the segments of other Kafka clusters."""
        for kind in (b"i", b"d", b"k"):
            own = kind + self._cluster_id + b"/"
            self._db.delete_range(kind, own)
            self._db.delete_range(own + _END, kind + _END)

    def _write(self, batch: Any, what: str) -> None:
        try:
            self._db.write(batch)
        except Exception as err:  # rocksdict raises plain Exception
            raise StorageError(f"cannot write {what} to the live store: {err}; is the disk of data_dir full?") from err

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def _key(self, info: SegmentInfo) -> bytes:
        return b"%b/%05d/%b/%020d" % (self._cluster_id, info.partition, info.tenant.encode(), info.first_offset)

    def _mark_key(self, partition: int) -> bytes:
        return b"k%b/%05d" % (self._cluster_id, partition)
