"""Overrides that tenants set themselves: one object a tenant in the object storage, and what counts here of them."""

import hashlib
import json
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from prometheus_client import Counter
from pydantic import ValidationError

from app.process.overrides import OverridesFile
from app.settings.tenants.overrides import TenantOverrides
from app.settings.tenants.own_overrides import read_own, shown
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore
from tables.tenant import valid_tenant
from tables.wire.json_text import parse_json

log = logging.getLogger(__name__)

LISTED: Final = Counter(
    "tempo_overrides_user_configurable_overrides_list_total", "Times that the overrides of tenants were listed."
)
FETCHED: Final = Counter(
    "tempo_overrides_user_configurable_overrides_fetch_total", "Times that the overrides of one tenant were read."
)
FETCH_FAILED: Final = Counter(
    "tempo_overrides_user_configurable_overrides_fetch_failed_total",
    "Times that the overrides of one tenant could not be read, or were wrong. What was read before holds.",
)

FOLDER: Final = "overrides"
_NAME: Final = "overrides.json"
# What a delete leaves: with the object gone, a change that comes at the same time would get lost.
_DELETED: Final = b""
NEW: Final = "0"
_PATCHES_MAX: Final = 5
_BYTES_MAX: Final = 1 << 20


class VersionMismatch(Exception):  # noqa: N818  (says what it is)
    """Somebody has changed the overrides since the version that the caller knows. HTTP 412."""


class Conflicting(Exception):  # noqa: N818  (as above)
    """Others change the overrides all the time. HTTP 409."""


class NoOwnOverrides(Exception):  # noqa: N818  (as above)
    """The tenant has set nothing. HTTP 404."""


class UnreadableOverrides(Exception):  # noqa: N818  (as above)
    """What is stored for the tenant is no JSON that can be answered; it does not count. HTTP 409. version: of it"""

    def __init__(self, tenant: str, why: str, version: str) -> None:
        super().__init__(
            f"the stored overrides of tenant {tenant} cannot be read and do not count: {why}. Delete or replace them, "
            "with this answer's ETag as If-Match"
        )
        self.version = version


class Versioned(NamedTuple):
    """What a tenant has set, with Tempo's names, and its version."""

    tree: Mapping[str, Any]
    version: str


class OwnOverrides:
    """One per process. Thread-safe; its methods ask the storage, so call them off the event loop.

    Every method may raise StorageError.
    """

    def __init__(self, store: ObjectStore, overrides: OverridesFile) -> None:
        self._store, self._overrides = store, overrides
        self._stamps: dict[str, str] = {}  # of the objects whose content counts, by tenant
        self._entries: dict[str, TenantOverrides] = {}
        self._changes = 0  # by this process
        self._lock = threading.Lock()

    def get(self, tenant: str) -> Versioned:
        """What the tenant has set. Raises: NoOwnOverrides, UnreadableOverrides"""
        data = self._stored(tenant)
        try:
            return Versioned(_parsed(data), _version(data))
        except ValueError as err:
            raise UnreadableOverrides(tenant, str(err)[:200], _version(data)) from err

    def version(self, tenant: str) -> str:
        """Of what the tenant has set; NEW: nothing"""
        try:
            return _version(self._stored(tenant))
        except NoOwnOverrides:
            return NEW

    def merged(self, tenant: str) -> Mapping[str, Any]:
        """What counts for the tenant, of what it may set, with Tempo's names."""
        return shown(self._overrides.of(tenant))

    def set(self, tenant: str, tree: Any, version: str) -> str:
        """Replaces what the tenant has set. version: what is replaced, NEW for nothing. Out: the new version

        Raises: ValueError, VersionMismatch
        """
        entry = self._checked(tenant, tree)
        data = json.dumps(tree, sort_keys=True).encode()
        self._write(tenant, data, version)
        self._hold(tenant, entry)
        return _version(data)

    def patch(self, tenant: str, patch: Any) -> Versioned:
        """Changes what the tenant has set by a JSON merge patch (RFC 7396).

        Raises: ValueError, Conflicting, UnreadableOverrides
        """
        for _ in range(_PATCHES_MAX):
            try:
                known = self.get(tenant)
            except NoOwnOverrides:
                known = Versioned({}, NEW)
            tree = merge_patch(known.tree, patch)
            try:
                return Versioned(tree, self.set(tenant, tree, known.version))
            except VersionMismatch:
                continue
        raise Conflicting("others change the overrides at the same time; send the patch again")

    def delete(self, tenant: str, version: str) -> None:
        """Removes what the tenant has set. Raises: VersionMismatch, NoOwnOverrides"""
        self._stored(tenant)
        self._write(tenant, _DELETED, version)
        self._hold(tenant, None)

    def _stored(self, tenant: str) -> bytes:
        data = self._store.get(_path(tenant))
        if not data:
            raise NoOwnOverrides(f"tenant {tenant} has set no overrides")
        return data

    def poll(self) -> None:
        """Reads what others have changed. What cannot be read, or is wrong, stays as it was."""
        LISTED.inc()
        changes = self._changes
        found: dict[str, str] = {}
        for path, stamp in self._store.objects(FOLDER):
            tenant, _, name = path.removeprefix(f"{FOLDER}/").partition("/")
            if name == _NAME and valid_tenant(tenant) and stamp.size_bytes:
                found[tenant] = stamp.e_tag
        for tenant in [tenant for tenant, tag in found.items() if self._stamps.get(tenant) != tag]:
            self._fetch(tenant, found[tenant])
        with self._lock:
            # What this process has set since the list was made is not in it.
            for tenant in self._entries.keys() - found.keys() if self._changes == changes else ():
                del self._entries[tenant]
            self._stamps = {tenant: tag for tenant, tag in self._stamps.items() if tenant in found}
            self._overrides.set_own(dict(self._entries))

    def _fetch(self, tenant: str, tag: str) -> None:
        FETCHED.inc()
        try:
            data = self._store.get(_path(tenant))
            entry = self._checked(tenant, _parsed(data)) if data else None
        except (StorageError, ValueError) as err:
            FETCH_FAILED.inc()
            log.error("the overrides that tenant %s has set cannot be used: %s", tenant, err)
            if isinstance(err, ValueError):
                self._stamps[tenant] = tag  # logged once
            return
        self._stamps[tenant] = tag
        with self._lock:
            if entry is None:
                self._entries.pop(tenant, None)
            else:
                self._entries[tenant] = entry

    def _checked(self, tenant: str, tree: Any) -> TenantOverrides:
        """Raises: ValueError, which says what is wrong"""
        check_json(tree)
        entry = read_own(tree)
        try:
            self._overrides.check_own(tenant, entry)
        except ValidationError as err:
            (first, *_) = err.errors(include_url=False)
            raise ValueError(f"does not fit to what the operator has set: {first['msg']}") from None
        return entry

    def _write(self, tenant: str, data: bytes, version: str) -> None:
        """Raises: VersionMismatch"""
        path = _path(tenant)
        if len(data) > _BYTES_MAX:
            raise ValueError(f"the overrides take {len(data)} bytes; the limit is {_BYTES_MAX}")
        # The stamp first: what is read then is of it, or newer, and then it cannot be replaced.
        stamp = self._store.stamp(path)
        known = self._store.get(path) if stamp is not None else None
        if version != (_version(known) if known else NEW):
            raise VersionMismatch(
                f"the version {version[:80]!r} is not the current one; read the overrides again, and send their ETag "
                "as If-Match (0 where there are none)"
            )
        written = self._store.create(path, data) if stamp is None else self._store.replace(path, data, stamp.e_tag)
        if not written:
            raise VersionMismatch("somebody has changed the overrides just now; read them again")

    def _hold(self, tenant: str, entry: TenantOverrides | None) -> None:
        """What is set counts in this process without waiting for the next poll."""
        with self._lock:
            self._changes += 1
            if entry is None:
                self._entries.pop(tenant, None)
            else:
                self._entries[tenant] = entry
            self._stamps.pop(tenant, None)
            self._overrides.set_own(dict(self._entries))


def check_json(tree: Any) -> None:
    """Python reads halves of surrogate pairs, which nobody can write: not as an answer, nor as a label. And it reads
    larger numbers and deeper nesting than others. Raises: ValueError
    """
    try:
        orjson.dumps(tree)
    except TypeError as err:
        raise ValueError(f"no JSON that can be written again: {err}") from err


def _parsed(data: bytes) -> Any:
    """What is stored: an earlier version took halves of surrogate pairs, which become U+FFFD. Raises: ValueError"""
    tree = parse_json(data)
    check_json(tree)
    return tree


def merge_patch(tree: Any, patch: Any) -> Any:
    """The tree after a JSON merge patch: null removes a key, a mapping changes what is below, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(tree) if isinstance(tree, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _path(tenant: str) -> str:
    return f"{FOLDER}/{tenant}/{_NAME}"


def _version(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
