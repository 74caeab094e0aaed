"""What the web page is told of the process that serves it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.settings.sections.ui import ServiceGraph

# `stretto run` sets it for its worker: the file that asks for the demo while it is there.
DEMO_SWITCH: Final = "DEMO_SWITCH_FILE"


@dataclass(frozen=True, slots=True)
class ReceiverAddress:
    """Where spans may be sent. name: as in `app.receivers.table`; host: "" for all addresses of the machine"""

    name: str
    label: str
    scheme: str
    host: str
    port: int
    tls: bool
    setting: str


@dataclass(frozen=True, slots=True)
class LinkTemplate:
    """A link from a span to its logs, metrics or profiles. url: a template of the setting `ui.links`"""

    name: str
    kind: str
    url: str


@dataclass(frozen=True, slots=True)
class PageConfig:
    """receivers: of this process, or as its settings say where another process has them (`receives_here` is false)

    tokens: whether requests need one
    demo_switch: None: the demo cannot be started from the page
    service_graph: where the map of services comes from, if it has a `prometheus_url`
    """

    receivers: Sequence[ReceiverAddress] = ()
    receives_here: bool = False
    multitenancy: bool = False
    tokens: bool = False
    demo_switch: Path | None = None
    links: Sequence[LinkTemplate] = ()
    service_graph: ServiceGraph = field(default_factory=ServiceGraph)
