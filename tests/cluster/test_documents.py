"""Every command of the documents, run in order against a Stretto with the demo: it works, and prints what they show."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.client import Client, eventually
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.document_run import DocumentRun
from tests.helpers.documents import COMMANDS, DOCUMENTS, blocks
from tests.helpers.files import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
OWN_TEST: Final = ROOT / "docs" / "receivers.md"  # test_receivers_docs.py: with other settings
RUN: Final = [
    path
    for path in DOCUMENTS
    if path != OWN_TEST and any(one.language in COMMANDS and not one.not_run for one in blocks(path))
]
# What some commands need: docs/api.md and docs/multitenancy.md say so where they stand.
SETTINGS: Final = {
    **SHORT_WINDOWS,
    "STRETTO_SERVER__PPROF_ENABLED": "true",
    "STRETTO_OVERRIDES__USER_CONFIGURABLE_OVERRIDES__ENABLED": "true",
}
COST: Final = ROOT / "docs" / "guides" / "cost-by-tenant.md"
EXAMPLE_IDS: Final = ("f2ba9cc8f6a098a30a7aec2cbeadb", "1f")  # of docs/api.md
DEMO: Final = ("--rate", "40", "--seed", "1")
# The rarest that a document asks for.
RARE: Final = '{ resource.service.name = "payments" && event.exception.type = "TimeoutError" }'
DEMO_S: Final = 240


def one_span(trace_id: str) -> bytes:
    """A trace with an id that a document names."""
    message = ExportTraceServiceRequest()
    now_ns = time.time_ns()
    span = message.resource_spans.add().scope_spans.add().spans.add(name="GET /", span_id=b"document")
    span.trace_id = bytes.fromhex(trace_id.zfill(32))
    span.start_time_unix_nano, span.end_time_unix_nano = now_ns, now_ns + 10**6
    return message.SerializeToString()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With the settings of a guide, and spans of the demo."""
    folder: Path = tmp_path_factory.mktemp("documents")
    settings = next(one.text for one in blocks(COST) if one.language == "yaml")
    assert "cost_attribution" in yaml.safe_load(settings)["overrides"]["defaults"]
    (folder / "stretto.yaml").write_text(settings)
    with Cluster(folder, SETTINGS) as running:
        client = Client(running)
        for trace_id in EXAMPLE_IDS:
            client.send(one_span(trace_id))
        command = [str(Path(sys.executable).with_name("stretto")), "demo", "--to", running.otlp_address, *DEMO]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:
            try:
                eventually(lambda: client.get("/api/search", q=RARE)["traces"], bool, DEMO_S, RARE)
            finally:
                demo.terminate()
        yield running


@pytest.mark.parametrize("path", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands(cluster: Cluster, path: Path, tmp_path: Path) -> None:
    reader = DocumentRun(cluster, path, tmp_path)
    assert [text for block, step in reader if (text := reader.run(block, step))] == []


def test_the_quick_start_is_run() -> None:
    """And none of what matters is left out by a mark."""
    assert {"README.md", "docs/quick-start.md", "docs/api.md"} <= {str(path.relative_to(ROOT)) for path in RUN}
    assert set((ROOT / "docs" / "guides").iterdir()) <= set(RUN)
