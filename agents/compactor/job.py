"""A job: what the leader asks some compactor to do, as a record of the topic of jobs."""

import uuid
from dataclasses import dataclass
from typing import Final

import orjson

from tables.errors import NEWER, WireError
from tables.tenant import valid_tenant

MERGE: Final = "merge"
_VERSION: Final = 1
_NAMESPACE: Final = uuid.UUID("0b0f7f0e-5f6b-5c2a-9a53-2e1f6d0c7a44")
_BLOCKS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Job:
    """kind: MERGE, or another one that an executor knows. block_ids: the inputs, blocks of one tenant and partition,
    in the order of their offsets
    """

    kind: str
    tenant: str
    block_ids: tuple[str, ...]

    @property
    def id(self) -> str:
        """Equal jobs have equal ids."""
        return str(uuid.uuid5(_NAMESPACE, "/".join((self.kind, self.tenant, *self.block_ids))))

    def encode(self) -> bytes:
        """The value of the Kafka record."""
        body = {"v": _VERSION, "kind": self.kind, "tenant": self.tenant, "block_ids": self.block_ids}
        return orjson.dumps(body)


def decode_job(data: bytes | None) -> Job:
    """The job from the value of a record. Raises: WireError if this build cannot read it"""
    try:
        body = orjson.loads(data or b"")
        version, kind, tenant = body["v"], body["kind"], body["tenant"]
        block_ids = tuple(body["block_ids"])
    except (KeyError, TypeError, ValueError) as err:
        raise WireError(f"not a job: {err}") from err
    if version != _VERSION:
        raise WireError(f"a job of version {version!r}; this build knows version {_VERSION}; {NEWER}", "version")
    if not isinstance(kind, str) or not isinstance(tenant, str) or not valid_tenant(tenant):
        raise WireError("not a job: its kind or its tenant is no name")
    if not 0 < len(block_ids) <= _BLOCKS_MAX or not all(map(_is_block_id, block_ids)):
        raise WireError("not a job: its blocks are not block ids")
    if len(set(block_ids)) != len(block_ids):
        raise WireError("not a job: it names a block twice")
    return Job(kind, tenant, block_ids)


def _is_block_id(text: object) -> bool:
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False
