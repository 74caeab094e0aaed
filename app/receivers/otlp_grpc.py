"""OTLP over gRPC: opentelemetry.proto.collector.trace.v1.TraceService/Export, request bytes as they come."""

from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from agents.record_producer import KafkaUnavailable
from app.receivers.gather import Gatherer, Overloaded
from app.receivers.replies import reply_bytes
from app.serving.access import AUTHORIZATION, Access, Forbidden, Unauthorized
from app.tenant import HEADER, InvalidTenant, NoTenant

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RETRY_S: Final = 1
_RETRIABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_CODES: Final[dict[type[Exception], grpc.StatusCode]] = {
    NoTenant: grpc.StatusCode.UNAUTHENTICATED,
    Unauthorized: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    InvalidTenant: grpc.StatusCode.INVALID_ARGUMENT,
    KafkaUnavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class TraceService(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types here
    """Answers Export; other methods are UNIMPLEMENTED."""

    def __init__(self, gatherer: Gatherer, access: Access) -> None:
        self._gatherer, self._access = gatherer, access
        # Neither a deserializer nor a serializer: bytes in, bytes out.
        self._export = grpc.unary_unary_rpc_method_handler(self._handle)

    def service(self, details: Any) -> Any:
        """Which handler answers a method."""
        return self._export if details.method == METHOD else None

    async def _handle(self, request: bytes, context: Any) -> bytes:
        headers = dict(context.invocation_metadata() or ())
        try:
            tenant = self._access.tenant(headers.get(AUTHORIZATION.lower()), headers.get(HEADER.lower()))
            outcome = await self._gatherer.add(tenant, request)
        except tuple(_CODES) as err:
            return await _refuse(context, _CODES[type(err)], str(err))
        if outcome.malformed is not None:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, outcome.malformed)
        return reply_bytes(outcome)


async def _refuse(context: Any, code: grpc.StatusCode, message: str) -> bytes:
    """Ends the call. OTLP clients send again after RetryInfo's delay; RESOURCE_EXHAUSTED without it would be final."""
    if code in _RETRIABLE:
        status = Status(code=code.value[0], message=message)
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=_RETRY_S)))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, message)
    return b""  # abort raises


def build_grpc_server(
    gatherer: Gatherer,
    endpoint: str,
    access: Access,
    *,
    message_bytes_max: int,
    tls: Any = None,
) -> Any:
    """A grpc.aio server, not started. Raises: RuntimeError if the endpoint cannot be bound.

    access: who may send. tls: grpc's server credentials; None: plaintext
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", message_bytes_max),
            # Two workers on one port would each get half of the spans, unnoticed.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((TraceService(gatherer, access),))
    if tls is None:
        server.add_insecure_port(endpoint)
    else:
        server.add_secure_port(endpoint, tls)
    return server
