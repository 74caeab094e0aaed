"""The receiver of OTLP over gRPC, as its settings say."""

from app.receivers.grpc import GrpcReceiver
from app.receivers.grpc_server import build_grpc
from app.receivers.otlp.export import EXPORT
from app.receivers.receiver import ReceiverContext
from app.settings.sections.receivers import Grpc


def build(section: Grpc, _setting: str, context: ReceiverContext) -> GrpcReceiver:
    """A server that does not listen yet. Raises: StrettoError if the files of TLS cannot be used"""
    return build_grpc(section, EXPORT, context)
