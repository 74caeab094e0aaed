"""JSON that nobody here writes, in objects of the bucket and records of Kafka: damage of that object, nothing else."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from agents.compactor.job import decode_job
from agents.members.record import MemberRecordError
from agents.members.record import decode as decode_member
from tables.blocks.meta import decode_meta
from tables.catalog.checkpoints import checkpoint_path, decode_checkpoint
from tables.catalog.cuts import cut_path, decode_cut
from tables.catalog.redaction_objects import decode_redaction
from tables.errors import StorageError, WireError
from tables.storage.checksum import with_checksum
from tables.tempo.block_meta import decode_tempo_meta

DECODERS: dict[str, tuple[Callable[[bytes], Any], dict[str, Any]]] = {
    "meta": (lambda data: decode_meta("blocks/t/b/meta.json", data), {"block_id": "b", "files": [], "level": 0}),
    "cut": (lambda data: decode_cut(cut_path(("c", 0), 5), data), {"blocks": [], "last_offset": 9, "metas": []}),
    "checkpoint": (lambda data: decode_checkpoint(checkpoint_path(("c", 0), 5), data), {"tenants": {"a": 1}}),
    "redaction": (lambda data: decode_redaction("redactions/t/x.json", data), {"id": "x"}),
    "meta of Tempo": (lambda data: decode_tempo_meta("t/b/meta.json", data), {"blockID": "b"}),
    "job": (decode_job, {"v": 1, "kind": "merge", "tenant": "t", "block_ids": []}),
    "member": (
        lambda data: decode_member("m", data),
        {
            "v": 1, "targets": [], "address": "", "zone": "", "version": "", "started_ns": 0, "heartbeat_ns": 0,
            "state": "active", "partitions": {"0": [0, 0, 0, 0]}, "services": {}, "assigned": {},
        },
    ),
}  # fmt: skip
ODD = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "not so deep": b"[" * 900 + b"]" * 900,
    "half a character": b'"\\ud800"',
    "zero": b'"\\u0000"',
    "huge": b"1" + b"0" * 5_000,
    "large": b"123456789012345678901234567890",
    "larger than a float": b"1e999",
    "no number": b"NaN",
    "fraction": b"0.5",
    "null": b"null",
    "list of lists": b"[[[null]]]",
    "object": b'{"a": {"a": null}}',
    "twice": b'{"a": 1, "a": 2}',
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", DECODERS)
def test_odd_values_are_damage(name: str, value: bytes) -> None:
    """Alone, in place of each field, and under a name that nobody knows; with a right checksum, and without."""
    decode, fields = DECODERS[name]
    bodies = [value]
    for place in [*fields, "unknown"]:
        # By hand: not every value could be written.
        others = b"".join(orjson.dumps(one) + b":" + orjson.dumps(fields[one]) + b"," for one in fields if one != place)
        bodies += [b"{" + others + orjson.dumps(place) + b":" + value + b"}"]
    for body in bodies:
        for data in (body, _checked(body)):
            try:
                decode(data)
            except (StorageError, WireError, MemberRecordError) as err:
                assert len(str(err)) < 10_000  # noqa: PT017 (what it says is short enough for a log)


def _checked(body: bytes) -> bytes:
    return with_checksum(body) if body.startswith(b"{") else body
