"""OTLP over gRPC: opentelemetry.proto.collector.trace.v1.TraceService/Export, request bytes as they come."""

from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from agents.record_producer import KafkaUnavailable
from app.receivers.gather import Gatherer, Overloaded
from app.receivers.replies import reply_bytes
from app.tenant import InvalidTenant, NoTenant, tenant_of

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RETRY_S: Final = 1
_TENANT_HEADER: Final = "x-scope-orgid"
_RETRIABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_CODES: Final[dict[type[Exception], grpc.StatusCode]] = {
    NoTenant: grpc.StatusCode.UNAUTHENTICATED,
    InvalidTenant: grpc.StatusCode.INVALID_ARGUMENT,
    KafkaUnavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class TraceService(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types here
    """Answers Export; other methods are UNIMPLEMENTED."""

    def __init__(self, gatherer: Gatherer, *, multitenancy: bool) -> None:
        self._gatherer, self._multitenancy = gatherer, multitenancy
        # Neither a deserializer nor a serializer: bytes in, bytes out.
        self._export = grpc.unary_unary_rpc_method_handler(self._handle)

    def service(self, details: Any) -> Any:
        """Which handler answers a method."""
        return self._export if details.method == METHOD else None

    async def _handle(self, request: bytes, context: Any) -> bytes:
        metadata = context.invocation_metadata() or ()
        header = next((value for key, value in metadata if key == _TENANT_HEADER), None)
        try:
            outcome = await self._gatherer.add(tenant_of(header, self._multitenancy), request)
        except (NoTenant, InvalidTenant, KafkaUnavailable, Overloaded) as err:
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


def build_grpc_server(gatherer: Gatherer, endpoint: str, *, multitenancy: bool, message_bytes_max: int) -> Any:
    """A grpc.aio server, not started. Raises: RuntimeError if the endpoint cannot be bound."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", message_bytes_max),
            # Two workers on one port would each get half of the spans, unnoticed.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((TraceService(gatherer, multitenancy=multitenancy),))
    server.add_insecure_port(endpoint)
    return server
