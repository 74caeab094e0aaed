"""Which workers there are, under the paths of Tempo's rings: JSON where the client asks for it, else a small page.

Stretto has no hash rings. Who is there and who has which partition Kafka knows, as the members of a consumer group;
what a partition holds the live store of this process knows.
"""

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import orjson
from aiohttp import web

routes = web.RouteTableDef()

Role = Literal["distributor", "live-store", "metrics-generator", "compactor"]
ROLES: Final[tuple[Role, ...]] = ("distributor", "live-store", "metrics-generator", "compactor")
State = Literal["ACTIVE", "JOINING", "LEAVING"]


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """How far a live store is with one partition."""

    partition: int
    next_offset: int  # the first that is not read yet
    end_offset: int | None  # where the topic ends; None: not known yet
    flushed: int  # everything below is in blocks


@dataclass(frozen=True, slots=True)
class Worker:
    """id: as Kafka has it. address: whence it talks to Kafka; "" where Kafka did not say. since_s: unix time of its
    start; known of this process only, as is `offsets`.
    """

    id: str
    role: Role
    address: str
    state: State
    partitions: Sequence[int]
    this_process: bool = False
    since_s: float | None = None
    offsets: Sequence[PartitionOffsets] = ()


@dataclass(frozen=True, slots=True)
class Ring:
    """problem: why there may be more workers than these; "" if there are not"""

    workers: Sequence[Worker]
    problem: str = ""


class Rings(Protocol):
    """Answers within seconds, whatever is away."""

    async def ring(self, role: Role) -> Ring:
        """Lists the workers that have this role."""
        ...

    def services(self) -> Mapping[str, str]:
        """The roles that this process has, and the state of each: Starting, Running, Stopping."""
        ...


class UnknownRings:
    """The rings of a process that does not ask Kafka who else is there."""

    async def ring(self, role: Role) -> Ring:  # noqa: ARG002
        """No workers, and that the process does not know any."""
        return Ring((), "this process does not know who is there")

    def services(self) -> Mapping[str, str]:
        """Nothing: the process does not say what it runs."""
        return {}


RINGS: Final = web.AppKey("rings", Rings)


@routes.get("/distributor/ring")
async def distributor_ring(request: web.Request) -> web.Response:
    """The workers that receive spans."""
    return await _ring(request, "distributor")


@routes.get("/live-store/ring")
@routes.get("/ingester/ring")
async def live_store_ring(request: web.Request) -> web.Response:
    """Who keeps recent spans. Tempo's older name for these is ingester."""
    return await _ring(request, "live-store")


@routes.get("/metrics-generator/ring")
async def generator_ring(request: web.Request) -> web.Response:
    """The workers that make metrics of spans."""
    return await _ring(request, "metrics-generator")


@routes.get("/compactor/ring")
async def compactor_ring(request: web.Request) -> web.Response:
    """The workers that merge blocks."""
    return await _ring(request, "compactor")


@routes.get("/memberlist")
async def memberlist(request: web.Request) -> web.Response:
    """The workers of all roles."""
    rings = [await request.app[RINGS].ring(role) for role in ROLES]
    workers = [worker for ring in rings for worker in ring.workers]
    problem = next((ring.problem for ring in rings if ring.problem), "")
    return _answer(request, "Members", "members", [_worker(one) for one in workers], problem)


@routes.get("/partition-ring")
async def partition_ring(request: web.Request) -> web.Response:
    """The partitions of topic `spans`, and which live store has each."""
    ring = await request.app[RINGS].ring("live-store")
    owners: dict[int, list[Worker]] = {}
    for worker in ring.workers:
        for number in worker.partitions:
            owners.setdefault(number, []).append(worker)
    rows = []
    for number, workers in sorted(owners.items()):
        held = [_offsets(one) for worker in workers for one in worker.offsets if one.partition == number]
        row = {"id": number, "state": workers[0].state, "owner_ids": [one.id for one in workers]}
        rows.append(row | {name: value for one in held for name, value in one.items() if name != "partition"})
    return _answer(request, "Partitions", "partitions", rows, ring.problem)


async def _ring(request: web.Request, role: Role) -> web.Response:
    ring = await request.app[RINGS].ring(role)
    return _answer(request, f"Ring of {role}s", "shards", [_worker(one) for one in ring.workers], ring.problem)


def _worker(worker: Worker) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": worker.id,
        "role": worker.role,
        "state": worker.state,
        "address": worker.address,
        "this_process": worker.this_process,
        "partitions": sorted(worker.partitions),
    }
    if worker.since_s is not None:
        shown["registered_timestamp"] = _time(worker.since_s)
    if worker.offsets:
        shown["offsets"] = [_offsets(one) for one in worker.offsets]
    return shown


def _offsets(offsets: PartitionOffsets) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "partition": offsets.partition,
        "next_offset": offsets.next_offset,
        "flushed": offsets.flushed,
    }
    if offsets.end_offset is not None:
        shown |= {"end_offset": offsets.end_offset, "lag": max(0, offsets.end_offset - offsets.next_offset)}
    return shown


def _time(unix_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def _answer(request: web.Request, title: str, name: str, rows: Sequence[dict[str, Any]], problem: str) -> web.Response:
    now = _time(time.time())
    if "application/json" in request.headers.get("Accept", ""):
        status_body = {name: rows, "now": now} | ({"message": problem} if problem else {})
        return web.Response(body=orjson.dumps(status_body), content_type="application/json")
    page = _page(title, rows, problem, now)
    # Nothing is loaded and nothing runs, whatever a name says.
    headers = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return web.Response(text=page, content_type="text/html", headers=headers)


def _page(title: str, rows: Sequence[dict[str, Any]], problem: str, now: str) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(row.get(name, ''))}</td>" for name in columns) + "</tr>\n" for row in rows
    )
    table = f'<table border="1">\n<tr>{head}</tr>\n{body}</table>' if rows else "<p>None.</p>"
    note = f"<p>{_text(problem)}</p>\n" if problem else ""
    title = _text(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body><h1>{title}</h1>\n{note}{table}\n<p>{_text(now)}</p></body></html>\n"
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        value = "; ".join(str(one) if not isinstance(one, dict) else _pairs(one) for one in value)
    return html.escape(str(value))


def _pairs(one: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.items())
