"""The receiver of Jaeger over gRPC, as its settings say."""

from typing import Final

from app.receivers.grpc import GrpcMethod, GrpcReceiver
from app.receivers.grpc_server import build_grpc
from app.receivers.receiver import ReceiverContext
from app.receivers.translation import Translation
from app.settings.sections.receivers import Grpc
from tables.wire.jaeger.protobuf import post_spans_to_otlp, usual_post_spans_to_otlp

POST_SPANS: Final = GrpcMethod(
    "/jaeger.api_v2.CollectorService/PostSpans",
    "jaeger_grpc",
    "distributor.receivers.jaeger.protocols.grpc",
    translation=Translation(post_spans_to_otlp, usual_post_spans_to_otlp),
)


def build(section: Grpc, _setting: str, context: ReceiverContext) -> GrpcReceiver:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    return build_grpc(section, POST_SPANS, context)
