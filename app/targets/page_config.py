"""What the web page is told of this process: from its settings, and from `stretto run` where that started it."""

from collections.abc import Mapping
from pathlib import Path

from app.api.page.page_config import DEMO_SWITCH, PageConfig, ReceiverAddress
from app.receivers.table import RECEIVERS, ReceiverRow
from app.settings import Settings
from app.settings.server import Tls

_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  (addresses that settings may have)


def page_config(settings: Settings, environ: Mapping[str, str]) -> PageConfig:
    """environ: of the process; `stretto run` says there where the switch of the demo is"""
    switch = environ.get(DEMO_SWITCH, "")
    return PageConfig(
        receivers=tuple(_address(row, settings) for row in RECEIVERS if row.listens(settings)),
        receives_here=settings.target in {"all", "distributor"},
        multitenancy=settings.multitenancy_enabled,
        tokens=bool(settings.server.auth_file),
        demo_switch=Path(switch) if switch else None,
    )


def _address(row: ReceiverRow, settings: Settings) -> ReceiverAddress:
    section = row.section(settings)
    host, _, port = section.endpoint.rpartition(":")
    host = host.strip("[]")
    return ReceiverAddress(
        name=row.name,
        label=row.label,
        scheme=row.scheme,
        host="" if host in _EVERYWHERE else host,
        port=int(port),
        tls=bool(getattr(section, "tls", Tls()).cert_file),
        setting=f"{row.setting}.endpoint",
    )
