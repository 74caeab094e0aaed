"""Messages of topic `spans` as a partition of the live store takes them."""

from typing import Any

from agents.stream.span_record import parts_of
from tables.live.partition import Incoming
from tables.live.shared_records import HeadRecord


def incoming_of(message: Any) -> Incoming:
    """A Kafka message, split by tenant; nothing is decoded. Raises: WireError"""
    info, parts = parts_of(message)
    offset, value, whole, of_requests = message.offset, message.value, info.spans if info.runs else 0, info.of_requests
    items = [
        (tenant, HeadRecord(offset, spans, value, first_row, whole, of_requests)) for tenant, first_row, spans in parts
    ]
    return Incoming(offset, round(message.timestamp * 1000), items, info.partitions)
