"""Checks requests before ptars reads them, for bytes that would make ptars panic or end the process.

ptars 0.0.25 panics if a length plus its position exceeds 64 bits. It also follows nested groups until the stack ends:
110 kB of start-group tags end the process. Both are rare in ordinary requests, and cheap to rule out: 0.1 µs per span.
Protobuf's own parser first reads the remaining requests, and refuses both (docs/ptars-report.md).
"""

from typing import Any, Final

import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import DecodeError

from tables.errors import WireError
from tables.wire.otlp.descriptor import NOT_OTLP, request_message

# Each nested group takes some 75 bytes of a stack of 8 MiB.
GROUPS_MAX: Final = 50_000
_START_GROUP: Final = 3  # the wire type, the lowest three bits of a tag


class Framing:
    """Checks the fields and lengths of a request. Strings need not be UTF-8 here."""

    def __init__(self) -> None:
        self._message: Any = message_factory.GetMessageClass(request_message(FieldDescriptorProto.TYPE_BYTES))

    def check(self, request: bytes) -> None:
        """A request that might harm ptars is read whole. Raises: WireError"""
        if _may_be_huge(request) or _may_be_deep(request):
            self.read(request)

    def read(self, request: bytes) -> None:
        """Reads all of it with protobuf's own parser, which takes 5 µs for 5 KB where ptars takes 240 µs for any
        request that comes alone. Raises: WireError; its text does not say where the fault is
        """
        try:
            self._message.FromString(request)
        except DecodeError as err:
            raise WireError(f"{NOT_OTLP}: {err}") from err


def _may_be_huge(request: bytes) -> bool:
    """Whether a length may be within 2^28 of 2^64. Such a number ends with five bytes of 255, and a tenth byte of which
    ptars takes the lowest bit. The check looks for two full words of two bytes. Negative integers look the same.
    """
    full = np.flatnonzero(np.frombuffer(request, np.uint16, len(request) // 2) == 0xFFFF)
    return len(full) > 1 and bool((np.diff(full) == 1).any()) and b"\xff" * 5 in request


def _may_be_deep(request: bytes) -> bool:
    """Whether the request has many bytes that could be group tags."""
    if len(request) <= GROUPS_MAX:
        return False
    return int(np.count_nonzero(np.frombuffer(request, np.uint8) & 7 == _START_GROUP)) > GROUPS_MAX
