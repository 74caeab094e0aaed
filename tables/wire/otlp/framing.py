"""What a request is checked for before ptars sees it: what would make ptars panic, or end the process.

ptars 0.0.25 panics where a length and its place add up to more than 64 bits, and it follows groups inside each other
until the stack ends: 110 kB of start-group tags end the process. Both are rare in ordinary requests and cheap to rule
out, 0.1 µs a span; what is left is read by protobuf's own parser first, which refuses both (docs/ptars-report.md).
"""

from typing import Any, Final

import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import DecodeError

from tables.errors import WireError
from tables.wire.otlp.descriptor import NOT_OTLP, request_message

# Groups inside each other take some 75 bytes of a stack of 8 MiB each.
GROUPS_MAX: Final = 50_000
_START_GROUP: Final = 3  # the wire type, the lowest three bits of a tag


class Framing:
    """Says what is wrong with a request's fields and lengths. Texts need not be UTF-8 here."""

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
    """Whether a length in it may be within 2^28 of 2^64: such a number ends with five bytes of 255, and a tenth byte of
    which ptars takes the lowest bit. It is looked at in words of two bytes, of which it fills two. Negative integers
    look the same.
    """
    full = np.flatnonzero(np.frombuffer(request, np.uint16, len(request) // 2) == 0xFFFF)
    return len(full) > 1 and bool((np.diff(full) == 1).any()) and b"\xff" * 5 in request


def _may_be_deep(request: bytes) -> bool:
    """Whether it has so many bytes that could be tags of groups."""
    if len(request) <= GROUPS_MAX:
        return False
    return int(np.count_nonzero(np.frombuffer(request, np.uint8) & 7 == _START_GROUP)) > GROUPS_MAX
