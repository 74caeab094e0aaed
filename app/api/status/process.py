"""What the pages of a process show of the process itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from app.api.page.page_config import PageConfig
from app.settings.show import overrides_yaml


def no_overrides() -> str:
    """What is set for single tenants where nothing is."""
    return overrides_yaml({})


@dataclass(slots=True)
class Configs:
    """As YAML, secrets masked; a reload replaces them. effective: the settings. defaults: all, as if nothing were set.
    changed: what differs from these. runtime: makes what is set for single tenants now, on a thread
    """

    effective: str = ""
    defaults: str = ""
    changed: str = ""
    runtime: Callable[[], str] = no_overrides


@dataclass(frozen=True, slots=True)
class Process:
    """target: the setting `target`. workers: host:port of the worker processes that share ports, this one among them;
    empty: there are no others. page: what the web page is told. stopping: whether the process was told to stop
    """

    target: str
    configs: Configs = field(default_factory=Configs)
    workers: Sequence[str] = ()
    page: PageConfig = field(default_factory=PageConfig)
    stopping: Callable[[], bool] = lambda: False


PROCESS: Final = web.AppKey("process", Process)
