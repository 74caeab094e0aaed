"""The table of targets: each is built of settings alone, without a socket, a store or Kafka."""

from pathlib import Path
from typing import get_args

import pytest

from app.main import TARGETS, build
from app.process.shutdown import ExitDeadline
from app.querying.frontend import Frontend
from app.querying.no_queries import NoQueries
from app.settings import Settings, load
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
    groups = {role: app.conf.id for role, app in TARGETS["all"](settings, shared).apps.items()}
    assert groups == {"live-store": group, "distributor": "stretto-distributor", "compactor": "stretto-compactor"}


def test_every_target_has_a_row() -> None:
    """The setting takes what the table has."""
    assert set(get_args(Settings.model_fields["target"].annotation)) == set(TARGETS)


@pytest.mark.parametrize(
    ("target", "name", "backend", "receives"),
    [
        ("all", "stretto-live-store", Frontend, True),
        ("live-store", "stretto-live-store", Frontend, False),
        ("distributor", "stretto-distributor", NoQueries, True),
        ("metrics-generator", "stretto-metrics-generator", NoQueries, False),
        ("compactor", "stretto-compactor", NoQueries, False),
    ],
)
def test_what_a_target_runs(tmp_path: Path, target: str, name: str, backend: type, receives: bool) -> None:
    """Its own consumer group, what answers queries, and whether it takes spans; the API is served by all."""
    worker = build(settings_of(tmp_path, target))
    assert worker.conf.id == name
    kinds = [type(part) for part in worker.parts]
    assert (QueryServer in kinds, ReceiverServers in kinds, ExitDeadline in kinds) == (True, receives, False)
    (server,) = (part for part in worker.parts if isinstance(part, QueryServer))
    assert isinstance(server._backend, backend)
    assert not (tmp_path / "data").exists()
    server._backend.close()
