"""The table of targets: each is built of settings alone, without a socket, a store or Kafka."""

from pathlib import Path

import pytest

from app.errors import SettingsError
from app.main import build
from app.process.shutdown import ExitDeadline
from app.querying.frontend import Frontend
from app.querying.no_queries import NoQueries
from app.settings import Settings, load
from app.targets import joined
from app.targets.query_server import QueryServer
from app.targets.receiver_servers import ReceiverServers
from app.targets.shared import Shared

REMOTE_WRITE = {"REMOTE_WRITE_URL": "http://127.0.0.1:9/api/v1/write"}


def settings_of(folder: Path, target: str) -> Settings:
    return load({"TARGET": target, "DATA_DIR": str(folder / "data"), **REMOTE_WRITE}, folder)


@pytest.mark.parametrize(("zone", "group"), [("", "stretto-live-store"), ("b", "stretto-live-store-b")])
def test_a_group_per_zone(tmp_path: Path, zone: str, group: str) -> None:
    """Of live stores. All else is there once."""
    settings = load({"ZONE": zone, "DATA_DIR": str(tmp_path / "data")}, tmp_path)
    shared = Shared.of(settings)
    groups = {role: app.conf.id for role, app in joined.build(settings, shared).apps.items()}
    assert groups == {"live-store": group, "distributor": "stretto-distributor", "compactor": "stretto-compactor"}


@pytest.mark.parametrize("name", ["nothing", "all,querier", "querier,,distributor", "", "querier distributor"])
def test_no_target(tmp_path: Path, name: str) -> None:
    """The error names the setting and what it may be."""
    with pytest.raises(SettingsError, match=r"(?s)target.*(querier, |name them alone)"):
        load({"STRETTO_TARGET": name}, tmp_path)


@pytest.mark.parametrize(
    ("target", "name", "backend", "receives"),
    [
        ("all", "stretto-live-store", Frontend, True),
        ("live-store", "stretto-live-store", Frontend, False),
        ("distributor", "stretto-distributor", NoQueries, True),
        ("metrics-generator", "stretto-metrics-generator", NoQueries, False),
        ("compactor", "stretto-compactor", NoQueries, False),
        ("query-frontend", "stretto-queries", Frontend, False),
        ("querier", "stretto-queries", NoQueries, False),
        ("querier, query-frontend", "stretto-queries", Frontend, False),
        ("distributor,live-store", "stretto-live-store", Frontend, True),
        ("scalable-single-binary", "stretto-live-store", Frontend, True),
    ],
)
def test_what_a_target_runs(tmp_path: Path, target: str, name: str, backend: type, receives: bool) -> None:
    """Its own consumer group, what answers queries, and whether it takes spans; the API is served by all."""
    worker = build(settings_of(tmp_path, target))
    assert worker.conf.id == name
    kinds = [type(part) for part in worker.parts]
    assert (QueryServer in kinds, ReceiverServers in kinds, ExitDeadline in kinds) == (True, receives, False)
    (server,) = (part for part in worker.parts if isinstance(part, QueryServer))
    assert isinstance(getattr(server._backend, "_backend", server._backend), backend)
    assert not (tmp_path / "data").exists()
    server._backend.close()
