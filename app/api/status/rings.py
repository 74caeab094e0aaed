"""Which processes there are, under the paths of Tempo's rings: JSON where the client asks for it, else a small page.

Stretto has no hash rings. Kafka's consumer groups give the partitions to the processes, which announce themselves on a
topic (agents/members).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from aiohttp import web

from agents.members.member import Member, MemberState, OffsetRange
from app.api.status.pages import json_or_page, utc

routes = web.RouteTableDef()

Role = Literal["distributor", "live-store", "metrics-generator", "compactor"]
ROLES: Final[tuple[Role, ...]] = ("distributor", "live-store", "metrics-generator", "compactor")
_LIVE_STORE: Final = "live-store"


@dataclass(frozen=True, slots=True)
class Membership:
    """members: this process first, as it is now. own_id: its id. problem: why there may be more; "" if there are
    not
    """

    members: Sequence[Member]
    own_id: str
    problem: str = ""


class Rings(Protocol):
    """Answers at once, whatever is away."""

    def membership(self) -> Membership:
        """The processes of the cluster."""
        ...


class UnknownRings:
    """The rings of a process that does not know who else is there."""

    def membership(self) -> Membership:
        """No processes, and that this one does not know any."""
        return Membership((), "", "this process does not know who is there")


RINGS: Final = web.AppKey("rings", Rings)


@routes.get("/distributor/ring")
async def distributor_ring(request: web.Request) -> web.Response:
    """The processes that receive spans."""
    return _ring(request, "distributor")


@routes.get("/live-store/ring")
@routes.get("/ingester/ring")
async def live_store_ring(request: web.Request) -> web.Response:
    """Who keeps recent spans. Tempo's older name for these is ingester."""
    return _ring(request, _LIVE_STORE)


@routes.get("/metrics-generator/ring")
async def generator_ring(request: web.Request) -> web.Response:
    """The processes that make metrics of spans."""
    return _ring(request, "metrics-generator")


@routes.get("/compactor/ring")
async def compactor_ring(request: web.Request) -> web.Response:
    """The processes that merge blocks."""
    return _ring(request, "compactor")


@routes.get("/memberlist")
async def memberlist(request: web.Request) -> web.Response:
    """All processes, whatever they run."""
    found = request.app[RINGS].membership()
    rows = [
        {"id": one.member_id, "targets": sorted(one.targets), "state": one.state.value} | _common(one, found.own_id)
        for one in found.members
    ]
    return json_or_page(request, "Members", "members", rows, found.problem)


@routes.get("/partition-ring")
async def partition_ring(request: web.Request) -> web.Response:
    """The partitions of topic `spans`, and which live stores have each."""
    found = request.app[RINGS].membership()
    holders = [one for one in found.members if _LIVE_STORE in one.targets]
    count = max((one.partition_count for one in found.members), default=0)
    numbers = {*range(count), *(number for one in holders for number in one.partitions)}
    rows = [_partition(number, [one for one in holders if number in one.partitions]) for number in sorted(numbers)]
    return json_or_page(request, "Partitions", "partitions", rows, found.problem)


def _partition(number: int, owners: Sequence[Member]) -> dict[str, Any]:
    """The offsets of the replica that is further along, and those of each owner. Without a healthy owner a partition is
    UNHEALTHY, without any INACTIVE: nobody can say what it holds.
    """
    rank = [MemberState.ACTIVE, MemberState.LEAVING, MemberState.UNHEALTHY]
    best_first = sorted(owners, key=lambda one: (rank.index(one.state), -one.partitions[number].end, one.member_id))
    row: dict[str, Any] = {
        "id": number,
        "state": state_of(best_first[0], _LIVE_STORE) if best_first else "INACTIVE",
        "owner_ids": [one.member_id for one in best_first],
    }
    if best_first:
        row |= _range(best_first[0].partitions[number])
    if len(best_first) > 1:
        row["owners"] = [
            {"id": one.member_id, "zone": one.zone, "state": state_of(one, _LIVE_STORE)}
            | _range(one.partitions[number])
            for one in best_first
        ]
    return row


def _ring(request: web.Request, role: Role) -> web.Response:
    found = request.app[RINGS].membership()
    rows = [_worker(role, one, found.own_id) for one in found.members if role in one.targets]
    return json_or_page(request, f"Ring of {role}s", "shards", rows, found.problem)


def _worker(role: Role, member: Member, own_id: str) -> dict[str, Any]:
    shown = {"id": member.member_id, "role": role, "state": state_of(member, role)} | _common(member, own_id)
    if role != _LIVE_STORE:
        return shown | {"partitions": list(member.assigned.get(role, ()))}
    shown["partitions"] = sorted(member.partitions)
    if member.partitions:
        shown["offsets"] = [{"partition": number} | _range(one) for number, one in sorted(member.partitions.items())]
    return shown


def state_of(member: Member, role: str) -> str:
    """JOINING until what the process runs for the role is ready; else the member's state."""
    if member.state is MemberState.ACTIVE and member.services.get(role, "Running") != "Running":
        return "JOINING"
    return member.state.value


def _common(member: Member, own_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "address": member.address,
        "this_process": member.member_id == own_id,
        "version": member.version,
        "registered_timestamp": utc(member.started_ns / 1e9),
        "heartbeat_timestamp": utc(member.heartbeat_ns / 1e9),
    }
    return shown | ({"zone": member.zone} if member.zone else {})


def _range(one: OffsetRange) -> dict[str, Any]:
    shown: dict[str, Any] = {"first_offset": one.first, "next_offset": one.end, "flushed": one.flushed}
    if one.topic_end is not None and one.lag is not None:
        shown |= {"end_offset": one.topic_end, "lag": one.lag}
    return shown
