"""The check `ports`: whether Stretto can listen where the settings say, or listens there already."""

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.receivers.table import RECEIVERS
from app.settings import Settings
from app.settings.models import EVERYTHING
from app.settings.values import split_host_port
from app.standalone.ports import holder

_ANSWER_S: Final = 3.0
_WORKER: Final = ("faust", "-A app")  # what stands in the command line of a process of ours


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process listens. setting: what to change; optional: the process goes on without it"""

    what: str
    host: str
    port: int
    setting: str
    udp: bool = False
    optional: bool = False
    api: bool = False


# Whether one can listen there: "free", "taken", or what else is in the way.
Listen = Callable[[Place], str]
# The command line of who listens there; "" if nobody may know.
Holder = Callable[[Place], str]


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """All addresses of the settings."""
    found = judged(places(here.settings), listen, _holder)
    return [*found, *_ready(here.settings)]


def places(settings: Settings) -> list[Place]:
    """Where a process with these settings listens."""
    server = settings.server
    found = [Place("query API", server.http_listen_address, server.http_listen_port, "PORT", api=True)]
    fixed = "grpc_listen_port" in server.model_fields_set or settings.target not in EVERYTHING
    if fixed and server.grpc_listen_port:
        address = server.grpc_listen_address
        found.append(Place("other processes", address, server.grpc_listen_port, "server.grpc_listen_port"))
    if "distributor" in settings.targets:
        for row in RECEIVERS:
            if row.listens(settings):
                host, port = split_host_port(row.section(settings).endpoint)
                setting, udp = f"{row.setting}.endpoint", row.scheme == "udp://"
                found.append(Place(row.label, host, port, setting, udp, row.optional(settings)))
    return found


def judged(wanted: Sequence[Place], can_listen: Listen, holder_of: Holder) -> list[Diagnosis]:
    """The verdicts on these addresses."""
    return [_judged(place, can_listen(place), holder_of) for place in wanted]


def _judged(place: Place, state: str, holder_of: Holder) -> Diagnosis:
    subject = f"{place.what} ({'UDP ' if place.udp else ''}{place.host}:{place.port})"
    if state == "free":
        return ok(subject, "free")
    advice = f"stop it, or change {place.setting}"
    if state != "taken":
        return wrong(subject, state, f"change {place.setting} to an address of this machine")
    owner = holder_of(place)
    if all(word in owner for word in _WORKER):
        return ok(subject, "held by Stretto")
    text = f"in use by {owner}" if owner else "in use by a process that this user may not see"
    if place.optional:
        return warning(subject, f"{text}; Stretto goes on without this receiver", advice)
    if not owner:
        return warning(subject, f"{text}: it may be Stretto", advice)
    return wrong(subject, text, advice)


def listen(place: Place) -> str:
    """Whether one can listen there now; nobody is disturbed who does."""
    kind = socket.SOCK_DGRAM if place.udp else socket.SOCK_STREAM
    try:
        family, _, _, _, address = socket.getaddrinfo(
            place.host or None, place.port, type=kind, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            if not place.udp:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            if not place.udp:
                probe.listen(1)
    except OSError as err:
        return "taken" if err.errno == errno.EADDRINUSE else f"cannot listen there: {err.strerror or err}"
    return "free"


def _holder(place: Place) -> str:
    found = holder(place.port, udp=place.udp)
    return found[1] if found else ""


def _ready(settings: Settings) -> list[Diagnosis]:
    """What a server that runs here says of itself."""
    server = settings.server
    host = "127.0.0.1" if server.http_listen_address in ("0.0.0.0", "", "::") else server.http_listen_address  # noqa: S104
    context = None
    if server.http_tls_config.cert_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        http.client.HTTPSConnection(host, server.http_listen_port, timeout=_ANSWER_S, context=context)
        if context
        else http.client.HTTPConnection(host, server.http_listen_port, timeout=_ANSWER_S)
    )
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        return judged_ready(answer.status, answer.read(64 << 10).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException):
        return [ok("server", "none answers here")]
    finally:
        connection.close()


def judged_ready(status: int, text: str) -> list[Diagnosis]:
    """The verdict on an answer of /ready."""
    if status == http.client.OK:
        return [ok("server", "runs, and is ready")]
    said = "; ".join(text.strip().splitlines())[:500]
    advice = "docs/operations.md says what each reason means"
    return [warning("server", f"runs, and is not ready: {said or status}", advice)]
