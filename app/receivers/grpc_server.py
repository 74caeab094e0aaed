"""A gRPC receiver, as its settings say."""

from typing import Final

from app.net.http2_types import Http2Limits
from app.net.listening import watched_context
from app.net.tls import HTTP_2, TlsFiles
from app.receivers.grpc import GrpcMethod, GrpcReceiver
from app.receivers.receiver import ReceiverContext
from app.settings.sections.receivers import Grpc

_MIB: Final = 1 << 20


def build_grpc(section: Grpc, method: GrpcMethod, context: ReceiverContext) -> GrpcReceiver:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    return GrpcReceiver(
        context.batcher,
        section.endpoint,
        context.access,
        method,
        message_bytes_max=section.max_recv_msg_size_mib * _MIB,
        tls=watched_context(context.watch, TlsFiles.of(section.tls, f"{method.setting}.tls"), HTTP_2),
        budget=context.budget,
        limits=Http2Limits(
            head_s=section.read_header_timeout_s,
            request_s=section.read_timeout_s,
            idle_s=section.idle_timeout_s,
            write_s=section.write_timeout_s,
            header_bytes_max=section.header_bytes_max,
            streams_max=section.max_concurrent_streams,
            connections_max=section.connections_max,
        ),
        costs=context.costs,
        threads=context.body_threads,
    )
