"""The receivers: a row and a folder each. Light to import, since `stretto run` lists their addresses, too."""

from functools import reduce
from importlib import import_module
from typing import Any, Final, NamedTuple

from app.settings import Settings

_OTLP: Final = "distributor.receivers.otlp.protocols"


class ReceiverRow(NamedTuple):
    """name: the key; label: for people; scheme: before the address, for people
    setting: the section of its settings, which has at least `endpoint`
    module: has the function `build(section, setting, context) -> Receiver | None`, under the name `builder`
    """

    name: str
    label: str
    scheme: str
    setting: str
    module: str
    builder: str = "build"

    def section(self, settings: Settings) -> Any:
        """The receiver's settings."""
        return reduce(getattr, self.setting.split("."), settings)

    def listens(self, settings: Settings) -> bool:
        """Whether the receiver is on: it has an address."""
        return bool(self.section(settings).endpoint)

    def optional(self, settings: Settings) -> bool:
        """Whether the process goes on without it where its address is taken: nobody asked for this address."""
        return not self.setting.startswith(_OTLP) and "endpoint" not in self.section(settings).model_fields_set

    def build(self, settings: Settings, context: Any) -> Any:
        """The receiver, which does not listen yet; None if it has to stay off. Raises: StrettoError if its files
        cannot be used
        """
        made = getattr(import_module(self.module), self.builder)
        return made(self.section(settings), self.setting, context)


_JAEGER: Final = "distributor.receivers.jaeger.protocols"
_HTTP, _UDP = "app.receivers.jaeger.http_server", "app.receivers.jaeger.udp_server"
RECEIVERS: Final = (
    ReceiverRow("otlp_grpc", "OTLP over gRPC", "", f"{_OTLP}.grpc", "app.receivers.otlp.grpc_server"),
    ReceiverRow("otlp_http", "OTLP over HTTP", "http://", f"{_OTLP}.http", "app.receivers.otlp.http_server"),
    ReceiverRow("jaeger_grpc", "Jaeger over gRPC", "", f"{_JAEGER}.grpc", "app.receivers.jaeger.grpc_server"),
    ReceiverRow(
        "jaeger_http", "Jaeger over HTTP", "http://", f"{_JAEGER}.thrift_http", "app.receivers.jaeger.http_server"
    ),
    ReceiverRow("jaeger_compact", "Jaeger over UDP", "udp://", f"{_JAEGER}.thrift_compact", _UDP, "build_compact"),
    ReceiverRow("jaeger_binary", "Jaeger, binary UDP", "udp://", f"{_JAEGER}.thrift_binary", _UDP, "build_binary"),
    ReceiverRow(
        "jaeger_sampling",
        "Jaeger's sampling",
        "http://",
        "distributor.receivers.jaeger.remote_sampling",
        "app.receivers.jaeger.sampling",
    ),
    ReceiverRow("zipkin", "Zipkin", "http://", "distributor.receivers.zipkin", "app.receivers.zipkin.http_server"),
)
