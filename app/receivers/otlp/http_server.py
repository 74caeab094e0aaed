"""The receiver of OTLP over HTTP, as its settings say."""

from app.net.cors import Cors
from app.net.listening import watched_context
from app.net.tls import TlsFiles
from app.receivers.http_body import BodyLimits
from app.receivers.http_server import HttpServer
from app.receivers.otlp.http import build_http_receiver
from app.receivers.receiver import ReceiverContext
from app.settings.sections.receivers import Http


def build(section: Http, setting: str, context: ReceiverContext) -> HttpServer:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    tls = watched_context(context.watch, TlsFiles.of(section.tls, f"{setting}.tls"))
    bodies = BodyLimits(
        section.max_request_body_size,
        section.max_json_body_size,
        section.read_timeout_s,
        context.costs,
        context.body_threads,
    )
    cors = section.cors
    allowed = Cors(cors.allowed_origins, cors.allowed_headers, cors.max_age) if cors.allowed_origins else None
    app = build_http_receiver(context.batcher, context.access, bodies, context.budget, allowed)
    return HttpServer(app, section, tls, "otlp")
