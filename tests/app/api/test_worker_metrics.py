"""The metrics of several worker processes in one answer."""

import asyncio
import socket

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from app.api.status.worker_metrics import merge, of_workers
from tests.harness.ports import own_port
from tests.helpers.querying.api import api_over, serving

ONE = """# HELP a_total Of a.
# TYPE a_total counter
a_total 3.0
# HELP b Of b.
# TYPE b gauge
b{x="{1}",y="q\\"}"} 4.0
b{} 1
"""
TWO = """# HELP b Of b.
# TYPE b gauge
b{x="2"} 5.0
# HELP c_seconds Of c.
# TYPE c_seconds histogram
c_seconds_bucket{le="1.0"} 1.0
c_seconds_sum 0.5
# HELP none Has no samples.
# TYPE none gauge
"""


def test_merge():
    """Each sample with its worker, those of a metric together, each header once."""
    assert merge({"1": ONE, "2": TWO}).splitlines() == [
        "# HELP a_total Of a.",
        "# TYPE a_total counter",
        'a_total{worker="1"} 3.0',
        "# HELP b Of b.",
        "# TYPE b gauge",
        'b{worker="1",x="{1}",y="q\\"}"} 4.0',
        'b{worker="1"} 1',
        'b{worker="2",x="2"} 5.0',
        "# HELP c_seconds Of c.",
        "# TYPE c_seconds histogram",
        'c_seconds_bucket{worker="2",le="1.0"} 1.0',
        'c_seconds_sum{worker="2"} 0.5',
    ]


def test_openmetrics_has_one_end():
    """At the end of all."""
    text = '# TYPE a counter\na_total 1.0 # {trace_id="x"} 1.0 2.0\n# EOF\n'
    merged = merge({"1": text, "2": text})
    assert merged.count("# EOF") == 1
    (family,) = parse_openmetrics(merged)
    assert [(one.labels, one.value) for one in family.samples] == [({"worker": "1"}, 1.0), ({"worker": "2"}, 1.0)]
    assert family.samples[0].exemplar.labels == {"trace_id": "x"}


def test_real_ones(backend):
    """Both formats of a real process parse, and one that does not answer is told."""
    gone = f"127.0.0.1:{own_port()}"

    async def use(base: str) -> None:
        own = base.removeprefix("http://")
        for accept, parser in (("", parse), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)):
            families = {one.name: one for one in parser(await of_workers([own, gone], accept))}
            up = {one.labels["worker"]: one.value for one in families["stretto_worker_up"].samples}
            assert up == {"1": 1.0, "2": 0.0}
            assert {one.labels["worker"] for one in families["process_resident_memory_bytes"].samples} == {"1"}

    asyncio.run(serving(api_over(backend), use))


def test_one_that_takes_the_connection_and_says_nothing(monkeypatch):
    """The answer does not wait for it for long."""
    monkeypatch.setattr("app.api.status.worker_metrics._ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        text = asyncio.run(of_workers([f"127.0.0.1:{listening.getsockname()[1]}"], ""))
    assert 'stretto_worker_up{worker="1"} 0' in text
