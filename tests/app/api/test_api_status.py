"""What is running: buildinfo and the pages under /status. None of them asks for a tenant."""

import json

from app.settings import Settings, to_yaml


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
    assert lines == sorted(set(lines))


def test_config(ask):
    """The settings as YAML, as they were given to the API: masked."""
    config = to_yaml(Settings())
    assert ask("/status/config", multitenancy=True, config=config).text == config
