"""Which gRPC status a client gets for what went wrong."""

import math
from collections.abc import Mapping
from typing import Final

import grpc

from agents.distributor.limits import LimitExceeded
from agents.distributor.record_producer import KafkaUnavailable
from agents.limited_log import limited_logger
from app.net.access import Forbidden, Unauthorized
from app.net.tenant import InvalidTenant, NoTenant
from app.receivers.grpc_wire import GrpcError
from app.receivers.input_budget import Overloaded
from tables.errors import WireError

log = limited_logger(__name__)

_Code: Final = grpc.StatusCode
# The first that fits counts.
_CODES: Final[Mapping[type[Exception], grpc.StatusCode]] = {
    NoTenant: _Code.UNAUTHENTICATED,
    Unauthorized: _Code.UNAUTHENTICATED,
    Forbidden: _Code.PERMISSION_DENIED,
    InvalidTenant: _Code.INVALID_ARGUMENT,
    WireError: _Code.INVALID_ARGUMENT,
    KafkaUnavailable: _Code.UNAVAILABLE,
    Overloaded: _Code.RESOURCE_EXHAUSTED,
    LimitExceeded: _Code.RESOURCE_EXHAUSTED,
}
REFUSALS: Final[tuple[type[Exception], ...]] = (GrpcError, *_CODES)


def grpc_error(err: BaseException) -> GrpcError:
    """The end of a call. An error that nobody expects is logged."""
    if isinstance(err, GrpcError):
        return err
    if isinstance(err, LimitExceeded):
        final, after_s = err.final or err.retry_after_s is None, err.retry_after_s or 0
        return GrpcError(_Code.RESOURCE_EXHAUSTED, str(err), final=final, retry_s=math.ceil(after_s))
    for kind, code in _CODES.items():
        if isinstance(err, kind):
            return GrpcError(code, str(err))
    log.error("a request over gRPC failed", exc_info=err)
    return GrpcError(_Code.INTERNAL, "internal error; the server's log has the details")
