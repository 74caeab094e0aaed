"""Members as tests need them."""

from dataclasses import replace
from typing import Any, Final

from agents.members.member import Member, MemberState, OffsetRange

MEMBER: Final = Member(
    member_id="one",
    targets=frozenset({"live-store", "distributor"}),
    address="127.0.0.1:9095",
    zone="",
    version="0.1.0",
    started_ns=1_795_259_580_000_000_000,
    heartbeat_ns=1_795_259_590_000_000_000,
    state=MemberState.ACTIVE,
)


def member(member_id: str, *, ends: dict[int, int] | None = None, **changes: Any) -> Member:
    """A live store. ends: its partitions, each from offset 0 to this"""
    partitions = {number: OffsetRange(0, end) for number, end in (ends or {}).items()}
    return replace(MEMBER, member_id=member_id, **{"partitions": partitions, **changes})
