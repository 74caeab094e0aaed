"""Object storage through obstore: local disk, S3, GCS and Azure behind a few functions, with our errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from tables.errors import DamagedError, StorageError

_CONNECT_S: Final = 2.0
_WRITE_S: Final = 60.0  # for one object of some megabytes; then whoever writes it tries again
_RETRIES: Final = 3
_BACKOFF: Final = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2}

Backend = Literal["local", "s3", "gcs", "azure"]


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where blocks are stored.

    place: a folder for `local`; bucket or container for the others
    prefix: path inside the bucket
    options: obstore's configuration of the backend (endpoint, region, keys …)
    read_timeout_s: for a read with its retries; writes may take longer, because nobody waits for them
    """

    backend: Backend
    place: str
    prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    read_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """The version of an object: it changes when the object is written again."""

    size_bytes: int
    e_tag: str
    modified_s: float


class ObjectStore:
    """Objects by path. Every method may raise StorageError; call them off the event loop."""

    def __init__(self, config: StorageConfig) -> None:
        self.config = config
        self._store: Any = _open(config, _WRITE_S)
        # A query holds a thread while it reads: a storage that is away must not take them all for minutes.
        self._reads: Any = _open(config, config.read_timeout_s)

    def put(self, path: str, data: Any) -> None:
        """Writes a whole object (bytes or an Arrow buffer), and replaces an existing one."""
        try:
            # Arrow's buffers are of signed bytes, which obstore does not take
            obstore.put(self._store, path, memoryview(data).cast("B"))
        except (exceptions.BaseError, OSError) as err:
            raise self._error("write", path, err) from err

    def create(self, path: str, data: Any) -> bool:
        """Writes an object unless it exists; False if it exists."""
        try:
            obstore.put(self._store, path, data, mode="create")
        except exceptions.AlreadyExistsError:
            return False
        except (exceptions.BaseError, OSError) as err:
            raise self._error("create", path, err) from err
        return True

    def get(self, path: str) -> bytes | None:
        """The object's bytes; None if it does not exist."""
        try:
            return bytes(obstore.get(self._reads, path).bytes())
        except FileNotFoundError:
            return None
        except (exceptions.BaseError, OSError) as err:
            raise self._error("read", path, err) from err

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """Parts of an object, (start, length) each, as buffers. Reads run concurrently, adjacent ones together.

        Raises: DamagedError if the object does not exist, or is too short; StorageError if it cannot be read now
        """
        starts, lengths = zip(*ranges, strict=True)
        try:
            found: Sequence[Any] = obstore.get_ranges(self._reads, path, starts=starts, lengths=lengths)
        except FileNotFoundError as err:
            raise DamagedError(path, "is missing") from err
        except (exceptions.BaseError, OSError) as err:
            # Each storage has its own error for an object that is too short. If its size is unavailable, too, the
            # storage is away.
            try:
                self._check_size(path, max(map(sum, ranges)))
            except DamagedError:
                raise
            except StorageError as also:
                raise self._error("read", path, err) from also
            raise self._error("read", path, err) from err
        if any(len(memoryview(part)) != length for part, length in zip(found, lengths, strict=True)):
            raise DamagedError(path, "is shorter than what was written")
        return found

    def _check_size(self, path: str, size_min: int) -> None:
        stamp = self.stamp(path)
        if stamp is None or stamp.size_bytes < size_min:
            raise DamagedError(path, "is missing" if stamp is None else "is shorter than what was written")

    def stamp(self, path: str) -> Stamp | None:
        """The object's stamp; None if it does not exist."""
        try:
            head = obstore.head(self._reads, path)
        except FileNotFoundError:
            return None
        except (exceptions.BaseError, OSError) as err:
            raise self._error("look at", path, err) from err
        return _stamp(head)

    def delete(self, paths: list[str]) -> None:
        """Deletes objects and ignores missing ones."""
        try:
            obstore.delete(self._store, paths)
        except FileNotFoundError:
            return
        except (exceptions.BaseError, OSError) as err:
            raise self._error("delete", paths[0], err) from err

    def paths(self, prefix: str) -> Iterator[str]:
        """All objects below a prefix (a whole number of path parts)."""
        for path, _ in self.objects(prefix):
            yield path

    def objects(self, prefix: str) -> Iterator[tuple[str, Stamp]]:
        """As `paths`, with the stamp of each object."""
        try:
            for chunk in obstore.list(self._reads, prefix):
                for item in chunk:
                    yield item["path"], _stamp(item)
        except FileNotFoundError:
            return
        except (exceptions.BaseError, OSError) as err:
            raise self._error("list", prefix, err) from err

    def _error(self, verb: str, path: str, err: Exception) -> StorageError:
        config = self.config
        where = f"{config.backend} storage {config.place}"
        # obstore's text goes on for a page of its own structures; the first line says it.
        return StorageError(f"cannot {verb} {path} in {where}: {str(err).splitlines()[0]}")


def _stamp(item: Any) -> Stamp:
    return Stamp(item["size"], str(item["e_tag"] or ""), item["last_modified"].timestamp())


def _open(config: StorageConfig, timeout_s: float) -> Any:
    """timeout_s: for all attempts of a request together"""
    prefix = config.prefix.strip("/") or None
    options = dict(config.options)
    within, connect = timedelta(seconds=timeout_s), timedelta(seconds=min(_CONNECT_S, timeout_s))
    options["client_options"] = {**options.get("client_options", {}), "timeout": within, "connect_timeout": connect}
    options["retry_config"] = {"max_retries": _RETRIES, "retry_timeout": within, "backoff": _BACKOFF}
    try:
        match config.backend:
            case "local":
                folder = Path(config.place)
                folder.mkdir(parents=True, exist_ok=True)
                # automatic_cleanup removes folders that become empty
                return LocalStore(folder / prefix if prefix else folder, automatic_cleanup=True, mkdir=True)
            case "s3":
                return S3Store(config.place, prefix=prefix, **options)
            case "gcs":
                return GCSStore(config.place, prefix=prefix, **options)
            case "azure":
                return AzureStore(config.place, prefix=prefix, **options)
    except (exceptions.BaseError, OSError) as err:
        first = str(err).splitlines()[0]
        raise StorageError(
            f"cannot open {config.backend} storage {config.place}: {first}; see `storage.trace` in the settings"
        ) from err


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
