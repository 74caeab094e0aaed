"""Limits of what translation makes objects of, span by span, before the limits of OTLP's spans apply."""

from collections.abc import Sized
from typing import Final

from tables.errors import WireError

# Of one span; Kafka's records, of which one holds a span, are usually smaller.
SPAN_BYTES_MAX: Final = 2 << 20
# Of one kind, in one span: as many as OTLP's spans may have of all kinds.
ITEMS_MAX: Final = 65_536

# Spans, logs and references of a request that clients usually send: some 30 to 50 ms.
USUAL_PARTS_MAX: Final = 1000


def check_bytes(where: str, span: Sized) -> None:
    """Raises: WireError where a span has too many bytes"""
    if len(span) > SPAN_BYTES_MAX:
        raise WireError(f"{where} has {len(span)} bytes; a span can have {SPAN_BYTES_MAX}")


def check_parts(where: str, *parts: Sized | None) -> None:
    """Raises: WireError where a span has too many references, logs, annotations or tags"""
    for part in parts:
        if part and len(part) > ITEMS_MAX:
            raise WireError(f"{where} has {len(part)} parts of one kind; {ITEMS_MAX} are allowed")
