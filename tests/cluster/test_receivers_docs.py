"""The examples of docs/receivers.md, run as they stand there, but for the ports: their spans are found."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.harness.client import Client, eventually
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.span_clients import program
from tests.helpers.documents import blocks
from tests.helpers.files import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
TEXT: Final = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
BLOCKS: Final = [
    (one.language, one.text)
    for one in blocks(ROOT / "docs" / "receivers.md")
    if one.language in {"sh", "python", "js"} and not one.not_run
]
(SETTINGS,) = re.findall(r"^```yaml\n(distributor:\n.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SERVICE: Final = re.compile(r"example-[a-z-]+")
# Of the documentation, by the names of the receivers.
PORTS: Final = {
    "14250": "jaeger_grpc",
    "14268": "jaeger_http",
    "6831": "jaeger_compact",
    "6832": "jaeger_binary",
    "5778": "jaeger_sampling",
    "9411": "zipkin",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With the settings of the documentation."""
    folder: Path = tmp_path_factory.mktemp("docs")
    (folder / "stretto.yaml").write_text(SETTINGS)
    with Cluster(folder, SHORT_WINDOWS) as running:
        yield running


def run(cluster: Cluster, language: str, code: str) -> str:
    """Runs an example, with the ports of the cluster. Out: what it printed"""
    addresses = {
        "4317": cluster.otlp_address,
        "4318": cluster.otlp_http_url,
        "9092": cluster.kafka_address,
        **{port: cluster.receivers[name] for port, name in PORTS.items()},
    }
    for port, address in addresses.items():
        code = re.sub(rf"\b{port}\b", address.rpartition(":")[2], code)
    commands = {"sh": ["/bin/sh", "-c", code], "python": [sys.executable, "-c", code]}
    command = commands.get(language) or [program("jaeger.js")[0], "-e", code]
    # Node looks for packages beside the working directory.
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=dict(os.environ))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_every_receiver_has_an_example() -> None:
    shown = "".join(code for _, code in BLOCKS)
    assert all(port in shown for port in (*PORTS, "4317", "4318", "9092"))


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=lambda text: (SERVICE.findall(text) or [text[:9]])[0])
def test_example(client: Client, language: str, code: str) -> None:
    printed = run(client.cluster, language, code)
    named = SERVICE.findall(code)
    if not named:
        assert "samplingRate" in printed
        return
    query = f'{{ resource.service.name = "{named[0]}" && name =~ "(?i)get /" }}'
    (found,) = eventually(lambda: client.search(query), bool, what=named[0])
    assert found["rootServiceName"] == named[0]
