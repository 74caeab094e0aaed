"""Own traces by the SDK of OpenTelemetry, over OTLP gRPC: to this process's own receiver, or elsewhere.

Own spans never make own spans: a request that has some is not traced, nor is work with blocks that hold nothing else.
"""

import asyncio
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import faust
from prometheus_client import Counter

from agents import tracing
from agents.tracing import NO_SPAN, OWN, Attributes, Kind, OwnSpan
from app.errors import SettingsError
from app.net.tenant import SINGLE_TENANT
from app.settings import Settings

log = logging.getLogger(__name__)

EXPORTED: Final = Counter("stretto_own_spans_exported_total", "Own spans that the receiver has taken.")
LOST: Final = Counter(
    "stretto_own_spans_lost_total",
    "Own spans that are lost, by reason: refused (by the receiver, or it is away).",
    ["reason"],
)
SERVICE: Final = "stretto"
_MARK: Final = OWN.encode()
_EXPORT_S: Final = 10.0
_STOP_S: Final = 2.0
_OFF: Final[AbstractContextManager[OwnSpan]] = nullcontext(NO_SPAN)


def check(settings: Settings) -> None:
    """Raises: SettingsError if own traces are wanted, and cannot be written"""
    if not settings.tracing.enabled:
        return
    for package in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc"):
        if not _is_there(package):
            text = "tracing.enabled needs OpenTelemetry's SDK: install stretto with its extra `tracing`"
            raise SettingsError(f"{text} ({package} is missing)")
    if not settings.tracing.endpoint:
        _own_receiver(settings)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


class OwnTraces(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Writes own traces while the process runs. It stops first, so that the process's own receiver takes the last."""

    def __init__(self, settings: Settings, member_id: str, version: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._make = lambda: SdkTracer(settings, member_id, version)
        self._tracer: SdkTracer | None = None

    async def on_start(self) -> None:
        """Raises: SettingsError if a file that the settings name cannot be used"""
        self._tracer = await asyncio.to_thread(self._make)
        tracing.use(self._tracer)

    async def on_stop(self) -> None:
        """Sends what waits, within two seconds."""
        tracing.use(None)
        if self._tracer is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await asyncio.to_thread(self._tracer.stop)


class SdkTracer:
    """`agents.tracing.Tracer`. Imports the SDK only when it is made. Thread-safe."""

    def __init__(self, settings: Settings, member_id: str, version: str) -> None:
        """Raises: ImportError without the SDK; SettingsError if a file cannot be used"""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._section = section = settings.tracing
        self._own_tenant = section.tenant if settings.multitenancy_enabled else SINGLE_TENANT
        self._to_itself = not section.endpoint
        self._credit = 0  # own spans that may be in blocks which are to be flushed
        self._kinds: Mapping[Kind, Any] = {
            "internal": SpanKind.INTERNAL,
            "server": SpanKind.SERVER,
            "client": SpanKind.CLIENT,
        }
        self.propagator = TraceContextTextMapPropagator()
        resource = Resource(
            {
                "service.name": SERVICE,
                "service.version": version,
                "service.instance.id": member_id,
                "stretto.target": settings.target,
                OWN: True,
            }
        )
        processor = BatchSpanProcessor(
            _counting(_exporter(settings), self._exported),
            max_queue_size=section.queue_spans_max,
            schedule_delay_millis=section.export_every * 1000,
            max_export_batch_size=min(512, section.queue_spans_max),
            export_timeout_millis=_EXPORT_S * 1000,
        )
        queries = TracerProvider(ParentBased(TraceIdRatioBased(section.query_ratio)), resource, shutdown_on_exit=False)
        chosen = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        for provider in (queries, chosen):
            provider.add_span_processor(processor)
        self._processor = processor
        self._queries, self._chosen = queries.get_tracer(SERVICE, version), chosen.get_tracer(SERVICE, version)

    def span(self, name: str, attributes: Attributes, kind: Kind, parent: str) -> AbstractContextManager[OwnSpan]:
        return self._begun(self._queries, name, attributes, kind, parent)

    def ingest(self, attributes: Attributes, body: bytes) -> AbstractContextManager[OwnSpan]:
        if random.random() >= self._section.ingest_ratio or _MARK in body:  # noqa: S311
            return _OFF
        return self._begun(self._chosen, "ingest", {**attributes, "size_bytes": len(body)}, "server")

    def background(
        self, name: str, attributes: Attributes, tenants: Mapping[str, int]
    ) -> AbstractContextManager[OwnSpan]:
        if random.random() >= self._section.background_ratio or self._are_own(tenants):  # noqa: S311
            return _OFF
        return self._begun(self._chosen, name, attributes, "internal")

    def stop(self) -> None:
        """Sends the spans that wait, and ends. It blocks for some seconds at most: call it on a thread."""
        self._processor.force_flush(round(_STOP_S * 1000))
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _are_own(self, tenants: Mapping[str, int]) -> bool:
        """Whether nothing but own spans is in blocks. With one tenant for all it is known by their number."""
        if set(tenants) != {self._own_tenant}:
            return False
        if self._own_tenant != SINGLE_TENANT:
            return True
        spans = sum(tenants.values())
        own = spans <= self._credit
        self._credit = max(0, self._credit - spans)
        return own

    def _exported(self, spans: int) -> None:
        EXPORTED.inc(spans)
        if self._to_itself:
            self._credit += spans

    @contextmanager
    def _begun(self, tracer: Any, name: str, attributes: Attributes, kind: Kind, parent: str = "") -> Iterator[OwnSpan]:
        from opentelemetry import trace

        context = None
        if parent and not trace.get_current_span().get_span_context().is_valid:
            context = self.propagator.extract({tracing.TRACEPARENT: parent})
        begun = tracer.start_as_current_span(name, context=context, kind=self._kinds[kind], attributes=dict(attributes))
        with begun as span:
            yield _SdkSpan(span, self.propagator)


class _SdkSpan(OwnSpan):
    def __init__(self, span: Any, propagator: Any) -> None:
        self._span, self._propagator = span, propagator
        self.is_recording = span.is_recording()
        if self.is_recording:
            self.log_fields = {"trace_id": f"{span.get_span_context().trace_id:032x}"}

    def set(self, attributes: Attributes) -> None:
        if self.is_recording:
            self._span.set_attributes(dict(attributes))

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(tracing.TRACEPARENT, "")


def _exporter(settings: Settings) -> Any:
    from grpc import ssl_channel_credentials
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    section = settings.tracing
    headers = [("x-scope-orgid", section.tenant)]
    if section.token_file:
        headers.append(("authorization", f"Bearer {_read('token_file', section.token_file).decode().strip()}"))
    credentials = ssl_channel_credentials(_read("ca_file", section.ca_file)) if section.ca_file else None
    return OTLPSpanExporter(
        endpoint=section.endpoint or _own_receiver(settings),
        insecure=credentials is None,
        credentials=credentials,
        headers=headers,
        timeout=_EXPORT_S,
    )


def _own_receiver(settings: Settings) -> str:
    """The OTLP receiver of this process, from this machine."""
    receiver = settings.distributor.receivers.otlp.protocols.grpc
    if "distributor" not in settings.targets or not receiver.endpoint:
        raise SettingsError("tracing.endpoint must say where own traces go: this process has no OTLP gRPC receiver")
    if receiver.tls.cert_file:
        raise SettingsError("tracing.endpoint and tracing.ca_file are needed: the OTLP gRPC receiver here has TLS")
    host, _, port = receiver.endpoint.rpartition(":")
    here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104
    return f"{here.get(host, host)}:{port}"


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as err:
        raise SettingsError(f"tracing.{name}: {path} cannot be read: {err.strerror or err}") from err


def _counting(exporter: Any, exported: Any) -> Any:
    """The exporter, with counts of what it has sent and lost."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Counting(SpanExporter):
        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            result: SpanExportResult = exporter.export(spans)
            if result is SpanExportResult.SUCCESS:
                exported(len(spans))
            else:
                LOST.labels("refused").inc(len(spans))
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Counting()
