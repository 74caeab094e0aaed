"""The API with the web page over a bookshop's traces of the last hour: the product's own server and query engine,
without Kafka. `python -m tests.harness.page_server 13200` keeps it running, to look at.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from agents.members.member import Member, MemberState, OffsetRange
from app.api.limits import ApiLimits
from app.api.page.page_config import LinkTemplate, PageConfig, ReceiverAddress
from app.api.server import api_runner, build_api
from app.api.status.process import Configs, Process
from app.api.status.rings import Membership
from app.cli.demo.shop import Shop
from app.cli.demo.trace import Placed, export_request
from app.net.access import Access, Credentials
from app.querying.damage import MissingData
from app.settings.sections.ui import ServiceGraph
from query.scan.progress import QueryObserver
from query.scan.source import Source
from tables.units import NS_PER_S
from tests.helpers.live.whole_way import Way
from tests.helpers.querying.engine import Engine

TRACES: Final = 3000
RANGE_S: Final = 3300
SEED: Final = 17
# A bad quarter of an hour: this service is slow and fails, on one version. It is what there is to find.
INCIDENT_S: Final = (900, 1500)  # before now
_FAILING: Final = 64  # of 256
_REQUEST_TRACES: Final = 100


def shop_requests(now_ns: int, traces: int = TRACES, range_s: int = RANGE_S) -> list[bytes]:
    """OTLP requests of a bookshop's traces, evenly over the time before `now_ns`."""
    shop = Shop(Random(SEED))
    placed: list[list[Placed]] = []
    for number in range(traces):
        ago_s = range_s * (1 - number / traces) + 2
        spans = shop.trace(now_ns - round(ago_s * NS_PER_S))
        if INCIDENT_S[0] < ago_s < INCIDENT_S[1]:
            _slow_payments(spans)
        placed.append(spans)
    groups = (placed[at : at + _REQUEST_TRACES] for at in range(0, traces, _REQUEST_TRACES))
    return [export_request([one for trace in group for one in trace]).SerializeToString() for group in groups]


def _slow_payments(spans: list[Placed]) -> None:
    """Payments by one kind of card take two seconds more, and some fail."""
    late = [span for pod, span in spans if pod.service == "payments"]
    if not late:
        return
    for _, span in spans:
        if span in late or any(_covers(span, one) for one in late):
            span.end_time_unix_nano += 2 * NS_PER_S
    for span in late:
        span.attributes.add(key="payment.provider").value.string_value = "slowpay"
        if span.span_id[0] < _FAILING:
            span.status.code = Status.STATUS_CODE_ERROR
            span.status.message = "the provider did not answer in time"


def _covers(span: Span, other: Span) -> bool:
    return bool(
        span.start_time_unix_nano <= other.start_time_unix_nano and span.end_time_unix_nano >= other.end_time_unix_nano
    )


class ThreadedEngine(Engine):
    """As the product does it: the event loop goes on while a query runs. missing: what answers say that they lack"""

    def __init__(self, sources: Sequence[Source], missing: Sequence[str] = ()) -> None:
        super().__init__(sources)
        self._missing = missing

    def add(self, sources: Sequence[Source]) -> None:
        """Spans that have come meanwhile."""
        self._sources = [*self._sources, *sources]

    async def _in_thread(self, ask: Callable[..., Any], *what: Any) -> Any:
        return await asyncio.to_thread(lambda: asyncio.run(ask(*what)))

    def _tell_missing(self, observer: QueryObserver) -> None:
        missing_data = MissingData(observer.missing_data)
        for text in self._missing:
            missing_data.add(text)

    async def search(self, *what: Any) -> Any:
        self._tell_missing(what[-1])
        return await self._in_thread(super().search, *what)

    async def metrics_range(self, *what: Any) -> Any:
        self._tell_missing(what[-1])
        return await self._in_thread(super().metrics_range, *what)

    async def metrics_instant(self, *what: Any) -> Any:
        self._tell_missing(what[-1])
        return await self._in_thread(super().metrics_instant, *what)

    async def tag_names(self, *what: Any) -> Any:
        return await self._in_thread(super().tag_names, *what)

    async def tag_values(self, *what: Any) -> Any:
        return await self._in_thread(super().tag_values, *what)

    async def trace(self, *what: Any) -> Any:
        return await self._in_thread(super().trace, *what)


def sources_of(requests: Sequence[bytes]) -> list[Source]:
    """The spans of requests as one sealed file."""
    return [Way(*requests).source] if requests else []


class OneMember:
    """What the pages of rings say: a process that is far behind in one partition and well in the other."""

    def membership(self) -> Membership:
        now_ns = time.time_ns()
        services = {"distributor": "Running", "live-store": "Running", "compactor": "Running"}
        member = Member(
            member_id="host-1",
            targets=frozenset(services),
            address="127.0.0.1:9095",
            zone="",
            version="0.1.0",
            started_ns=now_ns - 3600 * NS_PER_S,
            heartbeat_ns=now_ns,
            state=MemberState.ACTIVE,
            partitions={0: OffsetRange(0, 1000, 900, 1000), 1: OffsetRange(0, 400, 380, 52_400)},
            services=services,
            assigned={"distributor": (0, 1)},
            partition_count=2,
        )
        return Membership((member,), "host-1")


@dataclass
class PageServer:
    """Serves on a port of the loopback, in a thread. As a context manager: it listens inside."""

    sources: Sequence[Source]
    multitenancy: bool = False
    credentials: Credentials | None = None
    demo_switch: Path | None = None
    damage: Sequence[str] = ()
    missing: Sequence[str] = ()
    links: Sequence[LinkTemplate] = ()
    service_graph: ServiceGraph = field(default_factory=ServiceGraph)
    port: int = 0
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _end: asyncio.Event | None = field(default=None, init=False)
    _access: Access | None = field(default=None, init=False)
    _engine: "ThreadedEngine | None" = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """On the same port as before, if it was stopped."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(20)

    def stop(self) -> None:
        """It does not answer any more."""
        assert self._loop is not None
        assert self._end is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    def replace_credentials(self, credentials: Credentials) -> None:
        """As when the file of tokens has changed."""
        assert self._access is not None
        self._access.replace(credentials)

    def send_now(self, traces: int = 20) -> None:
        """Further traces, of the last seconds."""
        self.send(sources_of(shop_requests(time.time_ns(), traces, 5)))

    def send(self, sources: Sequence[Source]) -> None:
        """Adds spans to those that the server finds."""
        assert isinstance(self._engine, ThreadedEngine)
        self._engine.add(sources)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        runner = api_runner(self._app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        started.set()
        await self._end.wait()
        await runner.cleanup()

    def _app(self) -> web.Application:
        self._engine = engine = ThreadedEngine(self.sources, self.missing)
        self._access = Access(multitenancy=self.multitenancy, credentials=self.credentials)
        engine.damage = lambda: list(self.damage)  # type: ignore[method-assign]
        otlp = "distributor.receivers.otlp.protocols"
        receivers = (
            ReceiverAddress("otlp_grpc", "OTLP over gRPC", "", "", 4317, False, f"{otlp}.grpc.endpoint"),
            ReceiverAddress("otlp_http", "OTLP over HTTP", "http://", "", 4318, False, f"{otlp}.http.endpoint"),
            ReceiverAddress("zipkin", "Zipkin", "http://", "", 9411, False, "distributor.receivers.zipkin.endpoint"),
        )
        page = PageConfig(
            receivers,
            True,
            self.multitenancy,
            self.credentials is not None,
            self.demo_switch,
            self.links,
            self.service_graph,
        )
        configs = Configs("server:\n  http_listen_port: 3200\n", "server:\n  http_listen_port: 3200\n", "{}\n")
        return build_api(
            engine,
            ApiLimits(),
            self._access,
            process=Process("all", configs, page=page),
            rings=OneMember(),
        )


def main() -> None:
    """Serves until it is stopped."""
    port = int(sys.argv[1])
    server = PageServer(sources_of(shop_requests(time.time_ns())), port=port, demo_switch=Path("/tmp/demo-switch"))
    with server:
        print(f"listening on {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
