"""The receiver of Jaeger's Thrift over HTTP, as its settings say."""

from functools import partial
from typing import Final

from app.net.listening import watched_context
from app.net.tls import TlsFiles
from app.receivers.http_server import HttpServer
from app.receivers.receiver import ReceiverContext
from app.receivers.translating_http import SpanPath, build_translating_http, http_export
from app.settings.sections.receivers import HttpReceiver
from tables.wire.jaeger.thrift import batch_to_otlp

_BINARY, _COMPACT = (partial(batch_to_otlp, encoding="binary"), partial(batch_to_otlp, encoding="compact"))
TRACES: Final = SpanPath(
    "/api/traces",
    {
        "application/x-thrift": _BINARY,
        "application/vnd.apache.thrift.binary": _BINARY,
        "application/vnd.apache.thrift.compact": _COMPACT,
    },
)


def build(section: HttpReceiver, setting: str, context: ReceiverContext) -> HttpServer:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    tls = watched_context(context.watch, TlsFiles.of(section.tls, f"{setting}.tls"))
    app = build_translating_http([TRACES], http_export(section, setting, context))
    return HttpServer(app, section, tls, "jaeger_http")
