"""The receivers of Jaeger's datagrams, as their settings say."""

from functools import partial

from app.receivers.jaeger.udp import UdpReceiver
from app.receivers.receiver import ReceiverContext
from app.settings.sections.receivers import Udp
from tables.wire.jaeger.thrift import datagram_to_otlp
from tables.wire.thrift_structs import Encoding


def build_compact(section: Udp, setting: str, context: ReceiverContext) -> UdpReceiver | None:
    """The receiver of datagrams in Thrift's compact protocol, or None if it is switched off."""
    return build(section, setting, context, "compact")


def build_binary(section: Udp, setting: str, context: ReceiverContext) -> UdpReceiver | None:
    """The receiver of datagrams in Thrift's binary protocol, or None if it is switched off."""
    return build(section, setting, context, "binary")


def build(section: Udp, setting: str, context: ReceiverContext, encoding: Encoding) -> UdpReceiver | None:
    """A receiver that does not listen yet; None where no tenant is known for its spans.

    Raises: StrettoError if the tenant's name cannot be one
    """
    tenant = context.access.tenant_without_headers(section.tenant, f"{setting}.tenant")
    if tenant is None:
        return None
    return UdpReceiver(
        f"jaeger_udp_{encoding}",
        section.endpoint,
        tenant,
        partial(datagram_to_otlp, encoding=encoding),
        context.batcher,
        context.budget,
        packet_bytes_max=section.max_packet_size,
        socket_bytes=section.socket_buffer_size,
        queue_bytes_max=section.queue_bytes_max,
    )
