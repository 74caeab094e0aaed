"""Messages of topic `spans` as a partition of the live store takes them."""

from typing import Any

from agents.stream.span_record import parts_of
from tables.live.partition import Incoming
from tables.live.shared_records import HeadRecord


def incoming_of(message: Any) -> Incoming:
    """A Kafka message, split by tenant; nothing is decoded. Raises: WireError"""
    info, parts = parts_of(message)
    whole = info.spans if info.runs else 0
    items = [
        (part.tenant, HeadRecord(message.offset, part.spans, message.value, part.first_row, whole, info.of_requests))
        for part in parts
    ]
    return Incoming(message.offset, round(message.timestamp * 1000), items, info.partitions)
