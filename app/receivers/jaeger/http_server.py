"""The receiver of Jaeger's Thrift over HTTP, as its settings say."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from app.net.listening import watched_context
from app.net.tls import TlsFiles
from app.receivers.http_server import HttpServer
from app.receivers.receiver import ReceiverContext
from app.receivers.translating_http import SpanPath, build_translating_http, http_export
from app.receivers.translation import Translation
from app.settings.sections.receivers import HttpReceiver
from tables.wire.jaeger.thrift import batch_to_otlp, usual_batch_to_otlp
from tables.wire.thrift_structs import Encoding

_ENCODINGS: Final[Mapping[str, Encoding]] = {
    "application/x-thrift": "binary",
    "application/vnd.apache.thrift.binary": "binary",
    "application/vnd.apache.thrift.compact": "compact",
}
TRACES: Final = SpanPath(
    "/api/traces",
    {
        name: Translation(partial(batch_to_otlp, encoding=encoding), partial(usual_batch_to_otlp, encoding=encoding))
        for name, encoding in _ENCODINGS.items()
    },
)


def build(section: HttpReceiver, setting: str, context: ReceiverContext) -> HttpServer:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    tls = watched_context(context.watch, TlsFiles.of(section.tls, f"{setting}.tls"))
    app = build_translating_http([TRACES], http_export(section, setting, context))
    return HttpServer(app, section, tls, "jaeger_http")
