"""Targets: the files that an operator writes. What is wrong with one is said as a SettingsError."""

import contextlib
import tempfile
from pathlib import Path

from app.errors import SettingsError
from app.net.access import load_credentials
from app.settings import load
from app.settings.tenants.tenant_file import read_tenants
from tests.fuzz.target import Target

_SETTINGS = b"""
kafka:
  broker_url: kafka://a:9092,b:9092
  topic: spans
storage:
  trace: {backend: s3, s3: {bucket: b, endpoint: e}}
metrics_generator:
  processor: {span_metrics: {dimensions: [a, b], histogram_buckets: [1, 2.5]}}
  storage: {remote_write: [{url: "http://a/w", headers: {a: b}}]}
server: {http_listen_port: 3200}
"""
_OVERRIDES = b"""
overrides:
  team-a: {metrics_generator: {max_active_series: 5, processors: [service-graphs]}}
  "*": {}
"""
_TOKENS = b"team-a: ['sha256:" + b"ab" * 32 + b"']\n'*': []\n"


def _in_file(data: bytes, name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-config-"))
    (folder / name).write_bytes(data)
    return folder


def _settings(data: bytes) -> None:
    folder = _in_file(data, "stretto.yaml")
    try:
        with contextlib.suppress(SettingsError):
            load({}, folder)
    finally:
        (folder / "stretto.yaml").unlink()
        folder.rmdir()


def _tenants(data: bytes) -> None:
    with contextlib.suppress(SettingsError):
        read_tenants(data.decode("utf-8", "replace"), "overrides.yaml", {}, lambda _: None)


def _tokens(data: bytes) -> None:
    folder = _in_file(data, "tokens.yaml")
    try:
        with contextlib.suppress(SettingsError):
            load_credentials(folder / "tokens.yaml")
    finally:
        (folder / "tokens.yaml").unlink()
        folder.rmdir()


_WORDS = (
    b"&a [*a,*a]",
    b"<<: *a",
    b"!!python/object:os.system",
    b"${X}",
    b"null",
    b"0x",
    b"1e999",
    b".nan",
    b"\t",
    b"? ",
)
TARGETS = [
    Target("settings_file", _settings, lambda: [_SETTINGS], _WORDS),
    Target("overrides_file", _tenants, lambda: [_OVERRIDES], _WORDS),
    Target("token_file", _tokens, lambda: [_TOKENS], _WORDS),
]
