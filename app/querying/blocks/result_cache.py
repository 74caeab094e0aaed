"""What queriers have answered about blocks, which never change: in memory, and in a cache that frontends share.

The key says all that an answer depends on: tenant, files, redactions, request with its time range, and which traces
others have. So an entry never becomes wrong, and goes when others need the room.
"""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import orjson

from app.querying.blocks.block_messages import BlockAsk, Wanted
from app.querying.blocks.job_plan import BlockJob
from query.request_json import to_json
from tables.storage.byte_cache import ByteCache
from tables.storage.shared_cache import CacheKey, Role, SharedCache

_ROLE: Final[Role] = "frontend-search"
_LENGTH_BYTES: Final = 8


class ResultCache:
    """One for a process; belongs to its event loop."""

    def __init__(self, bytes_max: int, keys_bytes_max: int, shared: SharedCache | None = None) -> None:
        """bytes_max: 0: no answers are kept here. keys_bytes_max: of the keys of traces, which every search needs
        shared: None: frontends share none
        """
        answers: ByteCache[str, bytes] | None = ByteCache("frontend-search", bytes_max) if bytes_max else None
        keys: ByteCache[str, bytes] = ByteCache("trace-keys", keys_bytes_max)
        self._memory = {Wanted.KEYS: keys, Wanted.PARTIAL: answers}
        self._shared = shared

    async def get(self, key: str, wanted: Wanted) -> bytes | None:
        """An answer; None: it is not there."""
        memory = self._memory[wanted]
        found = None if memory is None else memory.get(key)
        if found is None and self._shared is not None:
            found = await asyncio.to_thread(self._get_shared, self._shared, key)
            if found is not None and memory is not None:
                memory.put(key, found, len(found))
        return found

    def put(self, key: str, wanted: Wanted, data: bytes) -> None:
        """Keeps an answer."""
        memory = self._memory[wanted]
        if memory is not None:
            memory.put(key, data, len(data))
        if self._shared is not None:
            # A key of that cache knows the length of its value; of an answer it is known only when it is there.
            length = len(data).to_bytes(_LENGTH_BYTES, "little")
            self._shared.put(_shared_key(key, "length", _LENGTH_BYTES), length)
            self._shared.put(_shared_key(key, "data", len(data)), data)

    @staticmethod
    def _get_shared(shared: SharedCache, key: str) -> bytes | None:
        length_key = _shared_key(key, "length", _LENGTH_BYTES)
        length = shared.get_many([length_key]).get(length_key)
        if length is None:
            return None
        data_key = _shared_key(key, "data", int.from_bytes(length, "little"))
        return shared.get_many([data_key]).get(data_key)


def _shared_key(key: str, part: str, length: int) -> CacheKey:
    return CacheKey(_ROLE, "", f"{key}/{part}", 0, length)


def cache_key(ask: BlockAsk, job: BlockJob, bucket: str) -> str:
    """Of the answer to a job. bucket: the storage of the blocks"""
    request = None if ask.wanted is Wanted.KEYS else to_json(ask.request)  # whatever is asked, the traces are the same
    redactions: Sequence[str] = sorted(each.id for each in ask.redactions)
    said = [bucket, ask.tenant, ask.wanted, job.content, redactions, request]
    if ask.wanted is Wanted.PARTIAL and ask.in_pieces:
        said.append("in pieces")  # frontends of former versions, which share a cache, do not know of them
    digest = blake2b(orjson.dumps(said), digest_size=20)
    digest.update(ask.elsewhere.tobytes())
    return digest.hexdigest()
