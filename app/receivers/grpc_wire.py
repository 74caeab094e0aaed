"""gRPC on top of HTTP/2: the prefix of a message, and the trailers with a status.

Source: gRPC over HTTP2, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import struct
from base64 import b64encode
from typing import Final
from urllib.parse import quote

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from app.receivers.codecs import ENCODINGS

PREFIX: Final = struct.Struct(">BL")  # compressed or not, length
_RETRY_S: Final = 1
_RETRIABLE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
# A status travels in a header, where most clients take 8 KB; a character may become 9 bytes, and 12 more in base64.
_TEXT_CHARS_MAX: Final = 400
_Code = grpc.StatusCode
_HTTP_STATUSES: Final = {
    _Code.INVALID_ARGUMENT: 400,
    _Code.UNAUTHENTICATED: 401,
    _Code.PERMISSION_DENIED: 403,
    _Code.RESOURCE_EXHAUSTED: 429,
    _Code.UNIMPLEMENTED: 501,
    _Code.UNAVAILABLE: 503,
    _Code.DEADLINE_EXCEEDED: 504,
}
ACCEPTED: Final = ",".join(("identity", *ENCODINGS))


class GrpcError(Exception):
    """Ends a call with this code. final: a retry would not help; retry_s: when to send again"""

    def __init__(self, code: grpc.StatusCode, message: str, *, final: bool = False, retry_s: int = _RETRY_S) -> None:
        super().__init__(message)
        self.code, self.message, self.final, self.retry_s = code, message, final, retry_s


def http_status(code: grpc.StatusCode) -> int:
    """The status that HTTP has for a code, as metrics show it."""
    return _HTTP_STATUSES.get(code, 500)


def message(body: bytes) -> bytes:
    """An uncompressed message with its prefix."""
    return PREFIX.pack(0, len(body)) + body


def trailers(error: GrpcError | None = None) -> list[tuple[str, str]]:
    """The trailers of an answer.

    OTLP clients retry after RetryInfo's delay; RESOURCE_EXHAUSTED without it is final for them.
    """
    if error is None:
        return [("grpc-status", "0")]
    text = error.message[:_TEXT_CHARS_MAX]
    found = [
        ("grpc-status", str(error.code.value[0])),
        ("grpc-message", quote(text, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}")),
    ]
    if error.code in _RETRIABLE and not error.final:
        status = Status(code=error.code.value[0], message=text)
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=error.retry_s)))
        found.append(("grpc-status-details-bin", b64encode(status.SerializeToString()).decode()))
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        found.append(("grpc-accept-encoding", ACCEPTED))
    return found
