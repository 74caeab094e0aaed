"""Redactions as objects of their own, so that an index that is made anew has them again.

redactions/<tenant>/<id>.json     a redaction in force, as JSON with a checksum; deleted when it is over
"""

from collections.abc import Iterator

import orjson
from pydantic import ValidationError

from tables.errors import DamagedError
from tables.redaction.rules import Redaction
from tables.storage.checksum import has_checksum, with_checksum
from tables.storage.object_store import ObjectStore


def redaction_path(tenant: str, redaction_id: str) -> str:
    """The path of a redaction."""
    return f"redactions/{tenant}/{redaction_id}.json"


def write_redaction(store: ObjectStore, tenant: str, redaction: Redaction) -> None:
    """Raises: StorageError"""
    store.put(redaction_path(tenant, redaction.id), with_checksum(orjson.dumps(redaction.model_dump())))


def delete_redactions(store: ObjectStore, tenant: str, ids: list[str]) -> None:
    """Of redactions that are over. What they say may be what was to be removed. Raises: StorageError"""
    if ids:
        store.delete([redaction_path(tenant, each) for each in ids])


def read_redactions(store: ObjectStore, tenant: str) -> Iterator[Redaction]:
    """All of a tenant. Raises: StorageError; DamagedError at the first that cannot be read"""
    for path in store.paths(f"redactions/{tenant}"):
        data = store.get(path)
        if data is not None:
            yield decode_redaction(path, data)


def decode_redaction(path: str, data: bytes) -> Redaction:
    """Raises: DamagedError"""
    try:
        found = Redaction.model_validate_json(data)
        checked = has_checksum(data)
    except (ValidationError, ValueError) as err:
        raise DamagedError(path, f"is not a redaction: {str(err).splitlines()[0]}") from err
    if not checked or not path.endswith(f"/{found.id}.json"):
        raise DamagedError(path, "is damaged: it says something else than its name")
    return found
