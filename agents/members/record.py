"""A member as a record of the topic: JSON with a version. Its key is the member id; a record without a value removes
it.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from agents.members.member import Member, MemberState, OffsetRange
from tables.errors import NEWER

_VERSION: Final = 1
_TEXT_MAX: Final = 1024
_ENDS: Final = 4  # offsets of a partition that this build knows of


class MemberRecordError(ValueError):
    """The value of a record is not a member, or of a version that this build does not know."""


def encode(member: Member) -> bytes:
    """The value of the record."""
    return orjson.dumps(
        {
            "v": _VERSION,
            "targets": sorted(member.targets),
            "address": member.address,
            "zone": member.zone,
            "version": member.version,
            "started_ns": member.started_ns,
            "heartbeat_ns": member.heartbeat_ns,
            "state": member.state.value,
            "partitions": {
                str(number): [one.first, one.end, one.flushed, one.topic_end]
                for number, one in member.partitions.items()
            },
            "services": dict(member.services),
            "assigned": {target: list(numbers) for target, numbers in member.assigned.items()},
            "partition_count": member.partition_count,
            "partitions_written": member.partitions_written,
            "record_counts": list(member.record_counts),
        }
    )


def decode(member_id: str, value: bytes) -> Member:
    """The member of a record. Raises: MemberRecordError

    Fields that later builds add are ignored, and those that earlier builds did not write are as if nothing was known:
    builds run side by side while they are exchanged.
    """
    try:
        found: Any = orjson.loads(value)
        if found["v"] != _VERSION:
            raise MemberRecordError(f"{member_id[:100]} is of version {str(found['v'])[:20]}; {NEWER}")
        return _member(member_id, found)
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise MemberRecordError(f"not a member: {err!r}"[:200]) from err


def _member(member_id: str, found: Mapping[str, Any]) -> Member:
    return Member(
        member_id=member_id,
        targets=frozenset(map(_text, found["targets"])),
        address=_text(found["address"]),
        zone=_text(found["zone"]),
        version=_text(found["version"]),
        started_ns=int(found["started_ns"]),
        heartbeat_ns=int(found["heartbeat_ns"]),
        state=MemberState(found["state"]),
        partitions={int(number): OffsetRange(*ends[:_ENDS]) for number, ends in found["partitions"].items()},
        services={_text(target): _text(state) for target, state in found["services"].items()},
        assigned={_text(target): tuple(map(int, numbers)) for target, numbers in found["assigned"].items()},
        partition_count=int(found.get("partition_count", 0)),
        partitions_written=int(found.get("partitions_written", 0)),
        record_counts=tuple(map(int, found.get("record_counts", ()))),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise MemberRecordError("expected a short text")
    return value
