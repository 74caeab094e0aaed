"""The receivers: a row and a folder each. Light to import, since `stretto run` lists their addresses, too."""

from functools import reduce
from importlib import import_module
from typing import Any, Final, NamedTuple

from app.settings import Settings


class ReceiverRow(NamedTuple):
    """name: the key; label: for people; scheme: before the address, for people
    setting: the section of its settings, which has at least `endpoint` and `tls`
    module: has `build(section, setting, context) -> Receiver`
    """

    name: str
    label: str
    scheme: str
    setting: str
    module: str

    def section(self, settings: Settings) -> Any:
        """The receiver's settings."""
        return reduce(getattr, self.setting.split("."), settings)

    def build(self, settings: Settings, context: Any) -> Any:
        """The receiver, which does not listen yet. Raises: StrettoError if its files cannot be used"""
        return import_module(self.module).build(self.section(settings), self.setting, context)


_OTLP: Final = "distributor.receivers.otlp.protocols"
RECEIVERS: Final = (
    ReceiverRow("otlp_grpc", "OTLP over gRPC", "", f"{_OTLP}.grpc", "app.receivers.otlp.grpc_server"),
    ReceiverRow("otlp_http", "OTLP over HTTP", "http://", f"{_OTLP}.http", "app.receivers.otlp.http_server"),
)
