"""The receiver of Zipkin's spans, as its settings say."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from app.net.listening import watched_context
from app.net.tls import TlsFiles
from app.receivers.http_server import HttpServer
from app.receivers.receiver import ReceiverContext
from app.receivers.translating_http import SpanPath, build_translating_http, http_export
from app.receivers.translation import Translate, Translation
from app.settings.sections.receivers import Zipkin
from tables.wire.zipkin.json import usual_version2_to_otlp, version1_to_otlp, version2_to_otlp
from tables.wire.zipkin.protobuf import protobuf_to_otlp
from tables.wire.zipkin.thrift import thrift_to_otlp

_US_PER_S = 1_000_000


def endpoints(*, parse_string_tags: bool) -> Sequence[SpanPath]:
    """The paths of Zipkin's API that take spans."""
    version1 = _now(partial(version1_to_otlp, parse_string_tags=parse_string_tags))
    version2 = _now(partial(version2_to_otlp, parse_string_tags=parse_string_tags))
    usual = _now(partial(usual_version2_to_otlp, parse_string_tags=parse_string_tags))
    protobuf, thrift = Translation(_now(protobuf_to_otlp)), Translation(_now(thrift_to_otlp))
    return (
        SpanPath(
            "/api/v2/spans",
            {
                "application/json": Translation(version2, usual),
                "application/x-protobuf": protobuf,
                "application/protobuf": protobuf,
            },
        ),
        SpanPath("/api/v1/spans", {"application/json": Translation(version1), "application/x-thrift": thrift}),
    )


def _now(translate: Callable[[bytes, int], bytes]) -> Translate:
    """Spans without any time began when they were received."""
    return lambda body: translate(body, int(time.time() * _US_PER_S))


def build(section: Zipkin, setting: str, context: ReceiverContext) -> HttpServer:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    tls = watched_context(context.watch, TlsFiles.of(section.tls, f"{setting}.tls"))
    taken = endpoints(parse_string_tags=section.parse_string_tags)
    app = build_translating_http(taken, http_export(section, setting, context))
    return HttpServer(app, section, tls, "zipkin")
