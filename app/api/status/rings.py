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

Role = Literal["distributor", "live-store", "metrics-generator"]
ROLES: Final[tuple[Role, ...]] = ("distributor", "live-store", "metrics-generator")
State = Literal["ACTIVE", "JOINING", "LEAVING"]


@dataclass(frozen=True, slots=True)
class Held:
    """A partition in a live store. next_offset: the first that is not read yet. end_offset: where the topic ends; None:
    not known yet. flushed: below it everything is in blocks
    """

    partition: int
    next_offset: int
    end_offset: int | None
    flushed: int


@dataclass(frozen=True, slots=True)
class Worker:
    """id: as Kafka has it. address: whence it talks to Kafka; "" where Kafka did not say. since_s: unix time of its
    start; known of this process only, as is `held`.
    """

    id: str
    role: Role
    address: str
    state: State
    partitions: Sequence[int]
    this_process: bool = False
    since_s: float | None = None
    held: Sequence[Held] = ()


@dataclass(frozen=True, slots=True)
class Ring:
    """problem: why there may be more workers than these; "" if there are not"""

    workers: Sequence[Worker]
    problem: str = ""


class Rings(Protocol):
    """Answers within seconds, whatever is away."""

    async def ring(self, role: Role) -> Ring:
        """The workers of a role."""
        ...

    def services(self) -> Mapping[str, str]:
        """The roles that this process has, and the state of each: Starting, Running, Stopping."""
        ...


class Alone:
    """Of a process that asks nobody."""

    async def ring(self, role: Role) -> Ring:  # noqa: ARG002
        """Nobody is known."""
        return Ring((), "this process does not know who is there")

    def services(self) -> Mapping[str, str]:
        """None."""
        return {}


RINGS: Final = web.AppKey("rings", Rings)


@routes.get("/distributor/ring")
async def distributor_ring(request: web.Request) -> web.Response:
    """Who receives spans."""
    return await _ring(request, "distributor")


@routes.get("/live-store/ring")
@routes.get("/ingester/ring")
async def live_store_ring(request: web.Request) -> web.Response:
    """Who keeps recent spans. Tempo's older name for these is ingester."""
    return await _ring(request, "live-store")


@routes.get("/metrics-generator/ring")
async def generator_ring(request: web.Request) -> web.Response:
    """Who makes metrics of spans."""
    return await _ring(request, "metrics-generator")


@routes.get("/memberlist")
async def memberlist(request: web.Request) -> web.Response:
    """All workers."""
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
        held = [_held(one) for worker in workers for one in worker.held if one.partition == number]
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
    if worker.held:
        shown["offsets"] = [_held(one) for one in worker.held]
    return shown


def _held(held: Held) -> dict[str, Any]:
    shown: dict[str, Any] = {"partition": held.partition, "next_offset": held.next_offset, "flushed": held.flushed}
    if held.end_offset is not None:
        shown |= {"end_offset": held.end_offset, "lag": max(0, held.end_offset - held.next_offset)}
    return shown


def _time(unix_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def _answer(request: web.Request, title: str, name: str, rows: Sequence[dict[str, Any]], problem: str) -> web.Response:
    now = _time(time.time())
    if "application/json" in request.headers.get("Accept", ""):
        told = {name: rows, "now": now} | ({"message": problem} if problem else {})
        return web.Response(body=orjson.dumps(told), content_type="application/json")
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
