"""Tries whether a storage can be used, for writing or for reading only, and says what is missing."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from tables.errors import StorageError, UnusableStorage
from tables.storage.config import Backend, StorageConfig
from tables.storage.object_store import ObjectStore
from tables.storage.request_errors import is_final, status_of

T = TypeVar("T")

_FOLDER: Final = "probe"
# What a process left behind that ended in the middle.
_LEFTOVER_S: Final = 3600.0
_BEFORE, _AFTER = b"stretto probes the storage", b"stretto has probed the storage"
# What to allow, by the operation that is not allowed.
_PERMISSIONS: Final[dict[Backend, dict[str, str]]] = {
    "s3": {
        "create": "s3:PutObject",
        "replace": "s3:PutObject",
        "read": "s3:GetObject",
        "list": "s3:ListBucket (on the bucket itself)",
        "delete": "s3:DeleteObject",
    },
    "gcs": {
        "create": "storage.objects.create",
        "replace": "storage.objects.delete (it replaces objects)",
        "read": "storage.objects.get",
        "list": "storage.objects.list",
        "delete": "storage.objects.delete",
    },
    "azure": dict.fromkeys(
        ("create", "replace", "read", "list", "delete"),
        "the role Storage Blob Data Contributor, or a SAS with the permissions racwdl",
    ),
    "local": dict.fromkeys(
        ("create", "replace", "read", "list", "delete"), "reading and writing of the folder for this user"
    ),
}


class StorageProbe:
    """One for a process: the probe is repeated until the storage passes it, and not again. Thread-safe."""

    def __init__(self, config: StorageConfig, *, writes: bool = True) -> None:
        """writes: whether the process writes; no, for those that only answer queries: they need no right to write"""
        # Nobody waits a minute at the start to learn that the storage is away.
        self._config = replace(config, write_timeout_s=min(config.write_timeout_s, config.read_timeout_s))
        self._probe = probe if writes else probe_reads
        self._lock = threading.Lock()
        self._passed = False

    def run(self) -> None:
        """Probes the storage, unless it has passed before.

        Raises: UnusableStorage if somebody has to change permissions, settings or the storage; StorageError if it is
        away
        """
        with self._lock:
            if not self._passed:
                self._probe(ObjectStore(self._config))
                self._passed = True


def probe(store: ObjectStore) -> None:
    """Creates, replaces, reads, lists and deletes an object below the prefix. Raises: as `StorageProbe.run`"""
    path = f"{_FOLDER}/{uuid.uuid4().hex}"
    _create(store, path)
    try:
        if store.create(path, _AFTER):
            raise _no_create_if_absent(store, "it has replaced an object that existed")
        _step(store, "replace", lambda: store.put(path, _AFTER))
        if _step(store, "read", lambda: store.get(path)) != _AFTER:
            raise UnusableStorage(
                f"{store.config.where} does not return what was just written ({path}). Stretto needs a storage that "
                "shows a write to all readers at once, as S3, GCS and Azure do"
            )
        found = dict(_step(store, "list", lambda: list(store.objects(_FOLDER))))
        if path not in found:
            raise UnusableStorage(
                f"{store.config.where} does not list what was just written ({path}). Stretto needs lists that are up "
                "to date"
            )
    except StorageError:
        _try_to_delete(store, path)
        raise
    old_s = time.time() - _LEFTOVER_S
    leftovers = [name for name, stamp in found.items() if name != path and stamp.modified_s < old_s]
    _step(store, "delete", lambda: store.delete([path, *leftovers]))


def probe_reads(store: ObjectStore) -> None:
    """Lists, and reads an object that is not there. Raises: as `StorageProbe.run`"""
    if not _step(store, "list", store.is_there):
        raise UnusableStorage(
            f"the storage cannot be used: {store.config.where} does not exist. Check "
            f"storage.trace.{store.config.backend}"
        )
    _step(store, "read", lambda: store.get(f"{_FOLDER}/{uuid.uuid4().hex}"))


def _create(store: ObjectStore, path: str) -> None:
    try:
        store.create(path, _BEFORE)
    except StorageError as err:
        if _status(err) == "refused":
            # Is it the condition that the storage refuses, or any write?
            _step(store, "create", lambda: store.put(path, _BEFORE))
            _try_to_delete(store, path)
            raise _no_create_if_absent(store, str(err)) from err
        raise _explained(store, "create", err) from err


def _no_create_if_absent(store: ObjectStore, why: str) -> UnusableStorage:
    return UnusableStorage(
        f"{store.config.where} does not support put-if-absent (a write with `If-None-Match: *`): {why}. Stretto needs "
        "it so that no two processes write the same cut. AWS, GCS, Azure and recent versions of MinIO, Ceph and others "
        "have it: update the server, or use another one"
    )


def _step(store: ObjectStore, operation: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except StorageError as err:
        raise _explained(store, operation, err) from err


def _explained(store: ObjectStore, operation: str, err: StorageError) -> StorageError:
    """The error with what to do about it, if it stays until somebody does."""
    cause = err.__cause__
    if not isinstance(cause, Exception) or not is_final(cause):
        return err
    if _status(err) == "denied":
        permission = _PERMISSIONS[store.config.backend][operation]
        return UnusableStorage(
            f"the storage does not allow to {operation} objects: {err}. Allow {permission}, or check the credentials "
            f"in storage.trace.{store.config.backend}"
        )
    return UnusableStorage(f"the storage cannot be used: {err}. Check storage.trace.{store.config.backend}")


def _status(err: StorageError) -> str:
    return status_of(err.__cause__) if isinstance(err.__cause__, Exception) else ""


def _try_to_delete(store: ObjectStore, path: str) -> None:
    try:
        store.delete([path])
    except StorageError:
        return  # the error of the probe says more
