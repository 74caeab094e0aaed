"""What a running Stretto says of itself: a JSON log, and own traces to itself, which end."""

import json
import time
import urllib.request
from pathlib import Path

import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

TRACE = "0af7651916cd43dd8448eb211c80319c"
SETTINGS = {
    **SHORT_WINDOWS,
    "STRETTO_WORKERS": "2",
    "STRETTO_LOG_FORMAT": "json",
    "STRETTO_MULTITENANCY_ENABLED": "true",
    "STRETTO_QUERY_FRONTEND__QUERY_LOG__ALL_QUERIES": "true",
    "STRETTO_TRACING__ENABLED": "true",
    "STRETTO_TRACING__QUERY_RATIO": "0",
    "STRETTO_TRACING__INGEST_RATIO": "1",
    "STRETTO_TRACING__EXPORT_EVERY": "500ms",
    "STRETTO_SERVER__PPROF_ENABLED": "true",
}


def get(cluster: Cluster, path: str, tenant: str, **headers: str) -> dict:
    url = urllib.request.Request(f"{cluster.http_url}{path}", headers={"X-Scope-OrgID": tenant, **headers})
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.loads(reply.read())


def own_spans(cluster: Cluster) -> list[tuple[str, str]]:
    """Trace id and name of all that are stored."""
    window = f"start={int(time.time()) - 600}&end={int(time.time()) + 60}"
    path = f"/api/search?q=%7Bresource.service.name=%22stretto%22%7D%7Cselect(name)&spss=100&limit=1000&{window}"
    traces = get(cluster, path, "stretto")["traces"]
    return sorted((one["traceID"], span["name"]) for one in traces for span in one["spanSets"][0]["spans"])


def test_own_telemetry(tmp_path: Path) -> None:
    with Cluster(tmp_path, SETTINGS) as cluster:
        Client(cluster).send(request("telling", 3, 2), x_scope_orgid="acme")
        get(cluster, "/api/search?q=%7B%7D", "acme", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")

        def names(of: str) -> set[str]:
            return {name for trace, name in own_spans(cluster) if trace == of.lstrip("0")}

        # With two workers the frontend asks the other one's live store.
        wanted = {"query search", "ask live store", "live store /tempopb.Querier/SearchRecent", "execute"}
        eventually(lambda: names(TRACE), lambda found: found >= wanted, 40, "the query's trace")
        eventually(lambda: {name for _, name in own_spans(cluster)}, lambda found: "ingest" in found, 40, "ingest")
        # The request of ours was traced, once; no request that had own spans was.
        quiet = own_spans(cluster)
        eventually(lambda: own_spans(cluster), lambda found: "flush blocks" in {name for _, name in found}, 40)
        time.sleep(3 * float(SETTINGS["STRETTO_LIVE_STORE__BLOCK_AGE_S"]))
        after = own_spans(cluster)
        assert [name for _, name in after].count("ingest") == [name for _, name in quiet].count("ingest") == 1
        # Whatever is flushed after the blocks of acme holds own spans only: it adds nothing.
        time.sleep(2 * float(SETTINGS["STRETTO_LIVE_STORE__BLOCK_AGE_S"]))
        assert own_spans(cluster) == after
        with urllib.request.urlopen(f"{cluster.http_url}/debug/tasks", timeout=20) as reply:
            assert b" tasks\n" in reply.read()
        text = (cluster.data_dir / "logs" / "worker.log").read_text()
    lines = [line[line.index("{") :] for line in text.splitlines() if '{"ts"' in line]
    found = [json.loads(line) for line in lines]
    queries = [one for one in found if one["msg"] == "query" and one["tenant"] == "acme"]
    assert [(one["op"], one["status"], one["trace_id"], one["level"]) for one in queries] == [
        ("search", 200, TRACE, "info")
    ]
    assert len(found) > len(text.splitlines()) / 2, text[:2000]
