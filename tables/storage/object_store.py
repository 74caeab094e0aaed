"""Object storage through obstore: local disk, S3, GCS and Azure behind a few functions, with our errors."""

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import obstore
from obstore import exceptions

from tables.errors import DamagedError, StorageError
from tables.storage.backends import open_backend
from tables.storage.config import StorageConfig as StorageConfig
from tables.storage.local_reads import LocalReads
from tables.storage.request_errors import FAILURES, status_of
from tables.storage.request_runner import AT_ONCE_MAX, RequestRunner, StorageRequest

# Ranges with a gap of at most this are one request.
_COALESCE_BYTES: Final = 1 << 20
# A larger object is written in parts of this size.
_PART_BYTES: Final = 5 << 20
# S3 lists and deletes at most so many objects with a request, Azure deletes a quarter of it.
_PAGE: Final = 1000
_DELETE_AT_ONCE: Final = {"s3": _PAGE, "azure": 256}
_AWAY: Final = frozenset({"timeout", "unreachable", "throttled"})


@dataclass(frozen=True, slots=True)
class Stamp:
    """The version of an object: it changes when the object is written again."""

    size_bytes: int
    e_tag: str
    modified_s: float


class ObjectStore:
    """Objects by path. Thread-safe. Every method may raise StorageError; call them off the event loop.

    Requests are limited in number (`concurrent_requests_max`) and in time, repeated after failures, and counted in
    metrics and for the work that they are made for (`tables.storage.request_usage`). Reads may be hedged.
    """

    def __init__(self, config: StorageConfig) -> None:
        self.config = config
        self._store: Any = open_backend(config, config.write_timeout_s)
        # A query holds a thread while it reads: a storage that is away must not take them all for minutes.
        self._reads: Any = open_backend(config, config.read_timeout_s)
        self._local: LocalReads | None = None
        if config.backend == "local":
            self._local = LocalReads(Path(config.place) / config.prefix.strip("/"))
        self._runner = RequestRunner(config)

    # ---- whole objects

    def put(self, path: str, data: Any) -> None:
        """Writes a whole object (bytes or an Arrow buffer), and replaces an existing one."""
        data = _bytes_of(data)
        parts = 1 if len(data) <= _PART_BYTES else -(-len(data) // _PART_BYTES) + 2
        write = partial(obstore.put, self._store, path, data, chunk_size=_PART_BYTES, max_concurrency=AT_ONCE_MAX)
        self._runner.run(
            StorageRequest("put", "write", path, parts, len(data)), partial(write, **self.config.put_options)
        )

    def create(self, path: str, data: Any) -> bool:
        """Writes an object unless it exists. Out: False if it exists, with other content

        An object with the same content counts as written by this call: a request may be repeated because its first
        answer was lost, and then finds what it wrote itself.
        """
        data = _bytes_of(data)
        try:
            self._runner.run(
                StorageRequest("create", "create", path, 1, len(data)),
                partial(obstore.put, self._store, path, data, mode="create", **self.config.put_options),
            )
        except exceptions.AlreadyExistsError:
            stamp = self.stamp(path)
            return stamp is not None and stamp.size_bytes == len(data) and self.get(path) == data
        return True

    def replace(self, path: str, data: Any, e_tag: str) -> bool:
        """Writes an object that has this tag still (see `stamp`). Out: False if it has changed, or is gone

        An object with the same content counts as written by this call, as with `create`.
        """
        data = _bytes_of(data)
        if self.config.backend == "local":
            with _local_lock(self.config, path):
                stamp = self.stamp(path)
                if stamp is None or stamp.e_tag != e_tag:
                    return False
                self.put(path, data)
                return True
        head = self._head(path)
        if head is None or _stamp(head).e_tag != e_tag:
            return False
        # S3 and Azure compare the tag, GCS the version.
        mode: Any = {name: head[name] for name in ("e_tag", "version") if head[name] is not None}
        try:
            self._runner.run(
                StorageRequest("put", "replace", path, 1, len(data)),
                partial(obstore.put, self._store, path, data, mode=mode, **self.config.put_options),
            )
        except StorageError as err:
            if not isinstance(err.__cause__, exceptions.PreconditionError | FileNotFoundError):
                raise
            return self.get(path) == bytes(data)
        return True

    def get(self, path: str) -> bytes | None:
        """The object's bytes; None if it does not exist."""
        try:
            return self._runner.read(
                StorageRequest("get", "read", path),
                lambda: bytes(obstore.get(self._reads, path).bytes()),
                lambda: _got(self._reads, path),
                len,
            )
        except FileNotFoundError:
            return None

    def stamp(self, path: str) -> Stamp | None:
        """The object's stamp; None if it does not exist."""
        head = self._head(path)
        return None if head is None else _stamp(head)

    def _head(self, path: str) -> Any:
        try:
            return self._runner.read(
                StorageRequest("head", "look at", path),
                lambda: obstore.head(self._reads, path),
                lambda: obstore.head_async(self._reads, path),
            )
        except FileNotFoundError:
            return None

    def delete(self, paths: Sequence[str]) -> None:
        """Deletes objects and ignores missing ones."""
        at_once = _DELETE_AT_ONCE.get(self.config.backend, 1)
        for first in range(0, len(paths), _PAGE):
            some = list(paths[first : first + _PAGE])
            try:
                self._runner.run(
                    StorageRequest("delete", "delete", some[0], -(-len(some) // at_once)),
                    partial(obstore.delete, self._store, some),
                )
            except FileNotFoundError:
                # The storage has stopped at a missing object, and says neither which, nor what it did before.
                if len(some) > 1:
                    for path in some:
                        self.delete([path])

    # ---- parts of objects

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """Parts of an object, (start, length) each, as buffers. Reads run concurrently, adjacent ones together.

        Raises: DamagedError if the object does not exist, or is too short; StorageError if it cannot be read now
        """
        starts, lengths = zip(*ranges, strict=True)
        requests, size_bytes = _coalesced(ranges)
        options = {"starts": starts, "lengths": lengths, "coalesce": _COALESCE_BYTES}
        work: Callable[[], Sequence[Any]] = partial(obstore.get_ranges, self._reads, path, **options)
        if self._local is not None and self._local.knows(path):
            work = partial(self._local.read, path, ranges)
        try:
            found: Sequence[Any] = self._runner.read(
                StorageRequest("get_range", "read", path, requests),
                work,
                lambda: obstore.get_ranges_async(self._reads, path, **options),
                lambda _: size_bytes,
            )
        except FileNotFoundError as err:
            raise DamagedError(path, "is missing") from err
        except StorageError as err:
            # Each storage has its own error for an object that is too short. If its size is unavailable, too, the
            # storage is away.
            if not isinstance(err.__cause__, FAILURES) or status_of(err.__cause__) in _AWAY:
                raise
            try:
                self._check_size(path, max(map(sum, ranges)))
            except DamagedError:
                raise
            except StorageError as also:
                raise err from also
            raise
        if any(len(memoryview(part)) != length for part, length in zip(found, lengths, strict=True)):
            raise DamagedError(path, "is shorter than what was written")
        return found

    def _check_size(self, path: str, size_min: int) -> None:
        stamp = self.stamp(path)
        if stamp is None or stamp.size_bytes < size_min:
            raise DamagedError(path, "is missing" if stamp is None else "is shorter than what was written")

    # ---- lists

    def paths(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """All objects below a prefix (a whole number of path parts), in the order of their paths.

        after: only objects with a greater path. S3, GCS and Azure begin there: a request for each 1,000 objects that
        follow; the local disk goes through all.
        """
        for path, _ in self.objects(prefix, after):
            yield path

    def objects(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, Stamp]]:
        """As `paths`, with the stamp of each object."""
        pages = self._pages(prefix, after)
        if self.config.backend == "local":  # which lists in no order
            pages = iter([sorted((item for page in pages for item in page), key=lambda item: item["path"])])
        for page in pages:
            for item in page:
                yield item["path"], _stamp(item)

    def _pages(self, prefix: str, after: str | None) -> Iterator[Sequence[Any]]:
        """The pages of a list. One that fails in the middle is asked for again, from the last known path on."""
        stream: Any = None
        floor = last = after

        def next_page() -> Sequence[Any] | None:
            nonlocal stream, floor
            if stream is None:
                floor = last
                stream = iter(obstore.list(self._reads, prefix or None, offset=floor, chunk_size=_PAGE))
            try:
                page: Sequence[Any] | None = next(stream, None)
            except FAILURES:
                stream = None  # it would say that it has come to its end
                raise
            return page

        while True:
            try:
                page = self._runner.run(StorageRequest("list", "list", prefix or "all objects"), next_page)
            except FileNotFoundError:
                return
            if not page:
                return
            last = page[-1]["path"]
            # Some servers (Azurite) ignore the offset.
            yield page if floor is None else [item for item in page if item["path"] > floor]
            if len(page) < _PAGE:
                return

    def is_there(self) -> bool:
        """Whether there is such a bucket or container. A folder that nobody has written to yet counts as one."""
        try:
            self._runner.run(
                StorageRequest("list", "list", "all objects"), partial(obstore.list_with_delimiter, self._reads)
            )
        except FileNotFoundError:
            return self.config.backend == "local"
        return True

    def folders(self, prefix: str) -> list[str]:
        """The paths of the folders right below a prefix, sorted; their objects are not listed."""
        try:
            found = self._runner.run(
                StorageRequest("list", "list", prefix or "all objects"),
                partial(obstore.list_with_delimiter, self._reads, prefix or None),
            )
        except FileNotFoundError:
            return []
        return sorted(found["common_prefixes"])


@contextmanager
def _local_lock(config: StorageConfig, path: str) -> Iterator[None]:
    """Of all processes of this machine: the local disk has no conditional writes."""
    folder = Path(config.place) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / hashlib.blake2b(f"{config.prefix}/{path}".encode(), digest_size=1).hexdigest()).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def _got(store: Any, path: str) -> bytes:
    return bytes(await (await obstore.get_async(store, path)).bytes_async())


def _bytes_of(data: Any) -> memoryview:
    # Arrow's buffers are of signed bytes, which obstore does not take
    return memoryview(data).cast("B")


def _coalesced(ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """How many requests the ranges take, and how many bytes these read."""
    requests, size_bytes, end = 0, 0, -_COALESCE_BYTES - 1
    for start, length in sorted(ranges):
        if start - end > _COALESCE_BYTES:
            requests, size_bytes, end = requests + 1, size_bytes + length, start + length
        elif start + length > end:
            size_bytes, end = size_bytes + start + length - end, start + length
    return requests, size_bytes


def _stamp(item: Any) -> Stamp:
    # Azure quotes the tag of an object, but not in a list.
    return Stamp(item["size"], str(item["e_tag"] or "").strip('"'), item["last_modified"].timestamp())


class RangeFile:
    """A read-only file for pyarrow with a known size; read_ranges returns the bytes of (start, length) each.

    It holds bytes only during `holding`, because many files may be open.
    """

    def __init__(self, read_ranges: Callable[[Sequence[tuple[int, int]]], Sequence[Any]], size_bytes: int) -> None:
        self.read_ranges, self._size, self._at = read_ranges, size_bytes, 0
        self._held: dict[tuple[int, int], Any] = {}
        self.closed = False

    @contextmanager
    def holding(self, ranges: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Answers reads of exactly these (start, length) from one request. Not thread-safe."""
        self._held = dict(zip(ranges, self.read_ranges(ranges), strict=True))
        try:
            yield
        finally:
            self._held = {}

    def size(self) -> int:
        return self._size

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._size)[whence]
        self._at = base + offset
        return self._at

    def read(self, count: int | None = -1) -> Any:
        left = self._size - self._at
        wanted = left if count is None or count < 0 else min(count, left)
        if wanted <= 0:
            return b""
        data = self._held.get((self._at, wanted))
        if data is None:
            (data,) = self.read_ranges([(self._at, wanted)])
        self._at += wanted
        return data

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        return

    def close(self) -> None:
        self.closed = True
