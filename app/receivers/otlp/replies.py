"""OTLP's reply to a client about its request."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from agents.distributor.span_writer import Outcome
from tables.wire.otlp.json import unknown_text

_FULL = b""  # an empty ExportTraceServiceResponse


def partial_success(outcome: Outcome, unknown: dict[str, int] | None = None) -> ExportTraceServiceResponse:
    """OTLP's reply, with the number of dropped spans and the reason.

    unknown: see otlp_json.Converted
    """
    reply = ExportTraceServiceResponse()
    left_out = outcome.left_out + sum((unknown or {}).values())
    if left_out:
        reply.partial_success.rejected_spans = left_out
        why = [unknown_text(unknown)] if unknown else []
        if outcome.rejected:
            why.append(
                f"{outcome.rejected} of {outcome.received} spans have an invalid trace id (16 bytes, not all zero) "
                "or span id (8 bytes, not all zero)"
            )
        if outcome.too_large:
            why.append(f"{outcome.too_large} spans are larger than kafka.max_message_bytes allows")
        why += [f"{one.spans} of {outcome.received} spans {one.text}" for one in outcome.discarded]
        reply.partial_success.error_message = "; ".join(why)
    return reply


def reply_bytes(outcome: Outcome) -> bytes:
    """The reply as serialized protobuf."""
    if not outcome.left_out:
        return _FULL
    return bytes(partial_success(outcome).SerializeToString())
