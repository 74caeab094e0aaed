"""The gRPC method Export of OTLP."""

from typing import Final

from app.receivers.grpc import GrpcMethod
from app.receivers.otlp.replies import reply_bytes

EXPORT: Final = GrpcMethod(
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "otlp_grpc",
    "distributor.receivers.otlp.protocols.grpc",
    reply=reply_bytes,
)
