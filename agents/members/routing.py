"""Which live store to ask for a partition."""

from collections.abc import Sequence
from typing import Final

from agents.members.member import Member, Members, MemberState

LIVE_STORE: Final = "live-store"


def members_of(members: Members, partition: int) -> Sequence[Member]:
    """The healthy live stores that say they have the partition, the best first: whose replica is further along. One
    that is LEAVING comes after those that have caught up with it.

    Whoever is asked says whether it can answer. If it cannot, the next one may; if nobody can, a rebalance is under way
    or nobody has the partition.
    """
    holders = [one for one in members.serving(LIVE_STORE) if partition in one.partitions]
    leaving = MemberState.LEAVING
    return sorted(holders, key=lambda one: (-one.partitions[partition].end, one.state is leaving, one.member_id))


def best_member(members: Members, partition: int) -> Member | None:
    """The first of `members_of`; None: nobody says that it has the partition."""
    return next(iter(members_of(members, partition)), None)
