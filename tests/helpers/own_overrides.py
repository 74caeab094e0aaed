"""Processes over one bucket, in which tenants set overrides themselves."""

import json
from pathlib import Path
from typing import Any

from app.api.tenants import TenantApi
from app.process.overrides import OverridesFile
from app.process.own_overrides import OwnOverrides
from app.settings import load
from app.targets.metrics_generator import GeneratorConfigs
from tables.storage.object_store import ObjectStore, StorageConfig

URL = "/api/overrides"


SETTINGS = """
distributor:
  forwarders: [{name: copy, otlpgrpc: {endpoints: ["127.0.0.1:1"], tls: {insecure: true}}}]
overrides:
  user_configurable_overrides: {enabled: true}
  per_tenant_override_config: tenants.yaml
"""


TENANTS = "overrides: {acme: {metrics_generator: {max_active_series: 5, processors: [service-graphs]}}}"


OWN = {"metrics_generator": {"processors": ["span-metrics"], "collection_interval": "30s"}}


class Process:
    """One process of several over a bucket."""

    def __init__(self, folder: Path) -> None:
        self.settings = load({}, folder)
        self.file = OverridesFile(self.settings, {})
        self.own = OwnOverrides(ObjectStore(StorageConfig("local", str(folder / "bucket"))), self.file)
        self.tenants = TenantApi(own=lambda: self.own, overrides_of=lambda tenant: "")

    def generator(self, tenant: str = "acme") -> Any:
        return GeneratorConfigs(self.settings, self.file, "i").of(tenant)


def two_processes(folder: Path) -> tuple[Process, Process]:
    """In the folder, which is the current one."""
    (folder / "stretto.yaml").write_text(SETTINGS)
    (folder / "tenants.yaml").write_text(TENANTS)
    return Process(folder), Process(folder)


def caller(ask: Any, first: Process) -> Any:
    """call(method, tree, …) as tenant acme, at the first process."""

    def called(
        method: str = "GET",
        tree: Any = None,
        *,
        match: str | None = None,
        tenant: str = "acme",
        path: str = URL,
        process: Process = first,
        **settings: Any,
    ) -> Any:
        headers = {"X-Scope-OrgID": tenant} | ({"If-Match": match} if match is not None else {})
        data = tree if isinstance(tree, bytes) or tree is None else json.dumps(tree).encode()
        return ask(
            path, method=method, headers=headers, data=data, multitenancy=True, tenants=process.tenants, **settings
        )

    return called
