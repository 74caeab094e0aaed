"""What the web page is told of this process: from its settings, and from `stretto run` where that started it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.api.page.page_config import DEMO_SWITCH, LinkTemplate, PageConfig, ReceiverAddress
from app.receivers.table import RECEIVERS, ReceiverRow
from app.settings import Settings
from app.settings.sections.server import Tls
from app.settings.values import split_host_port

_EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  (addresses that settings may have)


class DemoClient(NamedTuple):
    """What the demo says of itself: see app/cli/demo."""

    tenant: str
    token: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "DemoClient":
        """From the variables that it reads."""
        return cls(environ.get("STRETTO_TENANT", ""), environ.get("STRETTO_TOKEN", ""))

    def is_let_in(self, settings: Settings) -> bool:
        """Whether the receivers would take its spans."""
        if settings.server.auth_file:
            return bool(self.token)
        return bool(self.tenant) or not settings.multitenancy_enabled


def page_config(settings: Settings, environ: Mapping[str, str]) -> PageConfig:
    """environ: of the process; `stretto run` says there where the switch of the demo is"""
    switch, client = environ.get(DEMO_SWITCH, ""), DemoClient.of(environ)
    return PageConfig(
        receivers=tuple(_address(row, settings) for row in RECEIVERS if row.listens(settings)),
        receives_here="distributor" in settings.targets,
        multitenancy=settings.multitenancy_enabled,
        tokens=bool(settings.server.auth_file),
        demo_switch=Path(switch) if switch and client.is_let_in(settings) else None,
        service_graph=settings.ui.service_graph,
        links=tuple(LinkTemplate(one.name, one.kind, one.url) for one in settings.ui.links),
    )


def _address(row: ReceiverRow, settings: Settings) -> ReceiverAddress:
    section = row.section(settings)
    host, port = split_host_port(section.endpoint)
    return ReceiverAddress(
        name=row.name,
        label=row.label,
        scheme=row.scheme,
        host="" if host in _EVERYWHERE else host,
        port=port,
        tls=bool(getattr(section, "tls", Tls()).cert_file),
        setting=f"{row.setting}.endpoint",
    )
