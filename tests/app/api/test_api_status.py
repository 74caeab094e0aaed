"""What is running: buildinfo and the pages under /status. None of them asks for a tenant."""

import json
from functools import partial

import yaml

from app.api.status.process import Configs
from app.api.tenants import TenantApi
from app.settings import Settings, to_yaml
from app.settings.show import changed_yaml, overrides_yaml
from app.settings.tenants.overrides import TenantOverrides


def test_buildinfo(ask):
    """Grafana reads the version of Tempo's API from it."""
    info = json.loads(ask("/api/status/buildinfo", multitenancy=True).body)
    assert info.keys() == {"version", "revision", "branch", "buildUser", "buildDate", "goVersion"}
    assert info["version"] == "3.1.0"
    assert info["revision"].startswith("stretto-")


def test_version(ask):
    """A line for people."""
    answer = ask("/status/version", multitenancy=True)
    assert (answer.status, answer.text.startswith("stretto, version ")) == (200, True)


def test_services(ask, backend):
    """What runs here, and why it does not serve yet."""
    assert ask("/status/services", multitenancy=True, target="live-store").text == "live-store: Running\n"
    backend.reasons = ["partition 2: not assigned"]
    assert ask("/status/services").text == "all: Starting\npartition 2: not assigned\n"


def test_endpoints(ask):
    """A line for each endpoint."""
    lines = ask("/status/endpoints", multitenancy=True).text.splitlines()
    assert "GET /api/search" in lines
    assert "GET /api/v2/search/tag/{tag}/values" in lines
    assert "GET /distributor/ring" in lines
    assert "GRPC /tempopb.StreamingQuerier/Search" in lines
    assert len(lines) == len(set(lines))


def test_config(ask):
    """The settings as YAML, masked; the defaults; and what differs from these."""
    s3 = {"access_key": "a", "secret_key": "s"}
    settings = Settings.model_validate({"target": "live-store", "storage": {"trace": {"s3": s3}}})
    configs = Configs(to_yaml(settings), to_yaml(Settings()), changed_yaml(settings))
    ask_config = partial(ask, multitenancy=True, configs=configs)
    assert ask_config("/status/config").text == to_yaml(settings)
    assert ask_config("/status/config?mode=defaults").text == to_yaml(Settings())
    changed = yaml.safe_load(ask_config("/status/config?mode=diff").text)
    assert changed == {"target": "live-store", "storage": {"trace": {"s3": s3 | {"secret_key": "***"}}}}
    wrong = ask_config("/status/config?mode=all")
    assert (wrong.status, "diff" in wrong.text) == (400, True)


def test_runtime_config(ask):
    """What is set for single tenants, in the form of the file."""
    assert yaml.safe_load(ask("/status/runtime_config", multitenancy=True).text) == {"overrides": {}}
    entry = {"metrics_generator": {"processors": ["span-metrics"]}}
    tenants = {"acme": TenantOverrides.model_validate(entry)}
    configs = Configs(runtime=partial(overrides_yaml, tenants))
    assert yaml.safe_load(ask("/status/runtime_config", configs=configs).text) == {"overrides": {"acme": entry}}


def test_overrides_of_tenants(ask):
    """Who has settings of their own, and what counts for one."""
    text = "overrides:\n  acme:\n    metrics_generator:\n      processors: [span-metrics]\n  '*':\n    a: 1\n"
    asked = partial(ask, multitenancy=True, configs=Configs(runtime=lambda: text))
    assert asked("/status/overrides").text == "acme\n*\n"
    tenants = TenantApi(overrides_of=lambda tenant: f"of: {tenant}")
    assert yaml.safe_load(asked("/status/overrides/acme", tenants=tenants).text) == {"of": "acme"}
    assert ask("/status/overrides").text == ""
    assert yaml.safe_load(ask("/status/overrides/acme").text) == {}


def test_usage_stats(ask):
    """Nothing is reported."""
    answer = ask("/status/usage-stats", multitenancy=True)
    assert (answer.status, answer.text) == (200, "usage-stats is not enabled: Stretto reports nothing to anybody\n")
