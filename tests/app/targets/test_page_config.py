"""What the page is told of the settings."""

from pathlib import Path

import pytest

from app.api.page.page_config import DEMO_SWITCH
from app.settings import load
from app.targets.page_config import page_config


def config(tmp_path: Path, **environ: str):
    env = {"STRETTO_DATA_DIR": str(tmp_path), **environ}
    return page_config(load({k: v for k, v in env.items() if k != DEMO_SWITCH}, tmp_path), env)


def test_receivers_and_their_addresses(tmp_path):
    page = config(tmp_path, STRETTO_DISTRIBUTOR__RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT="127.0.0.1:14317")
    receivers = {one.name: one for one in page.receivers}
    assert (receivers["otlp_grpc"].host, receivers["otlp_grpc"].port) == ("127.0.0.1", 14317)
    assert (receivers["otlp_http"].host, receivers["otlp_http"].port) == ("", 4318)
    assert page.receives_here
    assert config(tmp_path, TARGET="scalable-single-binary").receives_here
    assert config(tmp_path, TARGET="distributor,querier").receives_here
    assert not config(tmp_path, TARGET="live-store").receives_here


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [
        ({}, False),
        ({DEMO_SWITCH: "/x/demo.on"}, True),
        ({DEMO_SWITCH: "/x/demo.on", "STRETTO_MULTITENANCY_ENABLED": "true"}, False),
        ({DEMO_SWITCH: "/x/demo.on", "STRETTO_MULTITENANCY_ENABLED": "true", "STRETTO_TENANT": "a"}, True),
        ({DEMO_SWITCH: "/x/demo.on", "STRETTO_SERVER__AUTH_FILE": "/x/tokens"}, False),
        ({DEMO_SWITCH: "/x/demo.on", "STRETTO_SERVER__AUTH_FILE": "/x/tokens", "STRETTO_TOKEN": "t"}, True),
    ],
)
def test_the_demo_only_where_its_spans_are_taken(tmp_path, environ, allowed):
    assert (config(tmp_path, **environ).demo_switch is not None) == allowed
