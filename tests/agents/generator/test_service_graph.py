# ruff: noqa: E501  (a case is a line of a table)
"""Service graphs: every edge counted once, in whatever order and distance its halves come."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from agents.generator.config import SERVICE_GRAPHS, GeneratorConfig, ServiceGraphsConfig
from agents.generator.processors.pairs import Pairs, edge_keys, unpaired_type
from tests.helpers.examples import examples
from tests.helpers.generator.generated import Fed, values
from tests.helpers.live.whole_way import START_NS, request, span

TOTAL = "traces_service_graph_request_total"
FAILED = "traces_service_graph_request_failed_total"
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
MS = 1_000_000
ERROR = Status(code=2)


def fed(partitions=1, **config):
    chosen = GeneratorConfig(
        processors=frozenset({SERVICE_GRAPHS}), service_graphs=ServiceGraphsConfig(**config), stale_duration_s=900
    )
    return Fed(chosen, partitions)


def one_span(service, number, kind, parent=0, ms=1, **fields):
    """A request with one span."""
    parents = {"parent_span_id": parent.to_bytes(8, "big")} if parent else {}
    made = span(number, kind=kind, end_time_unix_nano=START_NS + round(ms * MS), **parents, **fields)
    return request([made], service_name=service)


# Attributes without text say nothing.
NONE = {
    "an empty text": AnyValue(string_value=""),
    "a list": AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="x")])),
    "bytes": AnyValue(bytes_value=b"x"),
    "nothing": AnyValue(),
}
CALL = one_span("a", 1, CLIENT, ms=150)
ANSWER = one_span("b", 2, SERVER, parent=1, ms=50)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([[CALL, ANSWER]], id="one batch"),
        pytest.param([[ANSWER, CALL]], id="server first in a batch"),
        pytest.param([[CALL], [ANSWER]], id="two batches"),
        pytest.param([[ANSWER], [CALL]], id="server's batch first"),
        pytest.param([[CALL], None, [ANSWER]], id="a push between"),
        pytest.param([[ANSWER], None, [CALL]], id="server, a push, client"),
    ],
)
def test_an_edge_of_two_halves(steps):
    """The edge has the client's and the server's time."""
    one = fed()
    for batch in steps:
        if batch is None:
            assert one.push() == {}
        else:
            one.take(*batch)
    pushed = one.push()
    assert values(pushed, TOTAL) == {("a", "b"): 1}
    assert values(pushed, "traces_service_graph_request_client_seconds_sum") == {("a", "b"): 0.15}
    assert values(pushed, "traces_service_graph_request_server_seconds_sum") == {("a", "b"): 0.05}
    buckets = values(pushed, "traces_service_graph_request_client_seconds_bucket", "client", "server")
    assert buckets[("0.1",)] == 0
    assert buckets[("0.2",)] == 1
    assert values(pushed, FAILED) == {}
    assert one.wait(60).push()
    assert one.generator.stats().edges_expired == 0


@pytest.mark.parametrize(
    ("requests", "edges"),
    [
        pytest.param([one_span("a", 1, CLIENT), one_span("a", 2, SERVER, parent=1)], {("a", "a"): 1}, id="same service both ends"),
        pytest.param(
            [one_span("a", 1, PRODUCER), one_span("b", 2, CONSUMER, 1), one_span("c", 3, CONSUMER, 1)],
            {("a", "messaging_system", "b"): 1, ("a", "messaging_system", "c"): 1}, id="every consumer of a message",
        ),
        pytest.param(
            [one_span("a", 1, CLIENT), one_span("b", 2, SERVER, 1), one_span("b", 3, SERVER, 1)],
            {("a", "b"): 2}, id="a call sent again",
        ),
        pytest.param([one_span("b", 2, SERVER)], {("user", "virtual_node", "b"): 1}, id="from outside"),
        pytest.param([one_span("b", 2, SERVER, parent=1)], {}, id="missing client"),
        pytest.param([one_span("a", 2, CLIENT)], {}, id="missing server"),
        pytest.param([one_span("a", 2, CLIENT, attributes={"peer.service": "p"})], {("a", "virtual_node", "p"): 1}, id="peer"),
        pytest.param(
            [one_span("a", 1, CLIENT, attributes={"peer.service": "p"}), one_span("b", 2, SERVER, 1)],
            {("a", "b"): 1}, id="a peer that sends spans",
        ),
        pytest.param(
            [one_span("a", 1, CLIENT, attributes={"db.system": "redis"})], {("a", "database", "redis"): 1}, id="database"
        ),
        pytest.param(
            [one_span("a", 1, CLIENT, attributes={"db.name": "shop", "server.address": "pg-1"})],
            {("a", "database", "pg-1"): 1}, id="database by its address",
        ),
        pytest.param(
            [one_span("a", 1, CLIENT, attributes={"db.name": "n", "network.peer.address": "10.0.0.1", "network.peer.port": AnyValue(int_value=6379)})],
            {("a", "database", "10.0.0.1:6379"): 1}, id="database by address and port",
        ),
        *(
            pytest.param(
                [one_span("a", 1, CLIENT, attributes={"peer.service": none, "db.name": none, "rpc.peer": "p", "db.system": none})],
                {("a", "virtual_node", "p"): 1}, id=f"a peer behind {what}",
            )
            for what, none in NONE.items()
        ),
        *(
            pytest.param(
                [one_span("a", 1, CLIENT, attributes={"peer.service": none, "server.address": none, "db.namespace": none, "db.name": none, "db.system": "redis"})],
                {("a", "database", "redis"): 1}, id=f"a database behind {what}",
            )
            for what, none in NONE.items()
        ),
        *(
            pytest.param(
                [one_span("a", 1, CLIENT, attributes={"db.name": "n", "network.peer.address": "10.0.0.1", "network.peer.port": none})],
                {("a", "database", "10.0.0.1"): 1}, id=f"a database whose port is {what}",
            )
            for what, none in NONE.items()
        ),
        *(
            pytest.param(
                [one_span("a", 1, PRODUCER, attributes={"peer.service": none, "rpc.peer": "queue"})],
                {("a", "virtual_node", "queue"): 1}, id=f"a queue behind {what}",
            )
            for what, none in NONE.items()
        ),
        pytest.param([one_span("a", 1, CLIENT, attributes={"peer.service": AnyValue(int_value=7)})], {("a", "virtual_node", "7"): 1}, id="a peer that is a number"),
        pytest.param([one_span("a", 1, 1), one_span("b", 2, SERVER, 1)], {}, id="parent is no client"),
        pytest.param([request([span(1, kind=CLIENT)]), one_span("b", 2, SERVER, 1)], {}, id="client without a service"),
    ],
)  # fmt: skip
def test_edges(requests, edges):
    """What each of the classic cases comes to, after the wait."""
    one = fed(peer_attributes=("peer.service", "db.name", "rpc.peer")).take(*requests)
    assert one.wait(11).values(TOTAL) == edges


def test_figures_of_expired_halves():
    """Halves that nothing comes for are counted; one that names its peer is an edge."""
    one = fed().take(one_span("a", 1, CLIENT), one_span("a", 2, CLIENT, attributes={"peer.service": "p"}))
    one.take(one_span("b", 3, SERVER, parent=9))
    one.push()
    assert one.generator.stats().edges_waiting == 3
    one.wait(11).push()
    figures = one.generator.stats()
    assert (figures.edges_waiting, figures.edges_expired, figures.edges_unpaired) == (0, 3, 2)


def test_failures():
    """An edge has failed if either span has; the series appears with the first failure."""
    one = fed().take(CALL, ANSWER)
    assert values(one.push(), FAILED) == {}
    one.take(one_span("a", 3, CLIENT), one_span("b", 4, SERVER, 3, status=ERROR))
    one.take(one_span("a", 5, CLIENT, status=ERROR), one_span("b", 6, SERVER, 5))
    pushed = one.push()
    assert values(pushed, FAILED) == {("a", "b"): 2}
    (samples,) = [samples for labels, samples in pushed.items() if ("__name__", FAILED) in labels]
    assert [value for _, value in samples] == [0, 2]


def test_equal_span_ids_in_two_traces():
    """A span id says nothing without its trace."""
    one = fed().take(CALL, one_span("b", 2, SERVER, parent=1, trace=bytes(15) + b"\x07"))
    assert one.wait(11).values(TOTAL) == {}


def test_messaging_latency():
    """From the end of the producer's span to the start of the consumer's; other edges have no such series."""
    one = fed(enable_messaging_system_latency_histogram=True).take(one_span("a", 1, PRODUCER, ms=1))
    start = START_NS + 301 * MS
    one.take(
        one_span("b", 2, CONSUMER, 1, ms=302, start_time_unix_nano=start),
        one_span("a", 3, CLIENT),
        one_span("b", 4, SERVER, 3),
    )
    found = one.values("traces_service_graph_request_messaging_system_seconds_sum", "client", "server")
    assert found == {("messaging_system",): pytest.approx(0.3)}


@pytest.mark.parametrize(
    ("prefix", "labels"),
    [
        pytest.param(False, {"zone": "x"}, id="either side's"),
        pytest.param(True, {"client_zone": "x", "server_zone": "y"}, id="both, with prefix"),
    ],
)
def test_dimensions(prefix, labels):
    """Attributes of the spans as labels of the edge."""
    one = fed(dimensions=("zone",), enable_client_server_prefix=prefix, enable_virtual_node_label=True)
    one.take(one_span("a", 1, CLIENT, attributes={"zone": "x"}), one_span("b", 2, SERVER, 1, attributes={"zone": "y"}))
    (found,) = (dict(found) for found in one.push() if ("__name__", TOTAL) in found)
    assert found == {"__name__": TOTAL, "client": "a", "server": "b"} | labels


def test_virtual_node_label():
    """Says which side sends no spans."""
    one = fed(enable_virtual_node_label=True).take(
        one_span("b", 2, SERVER), one_span("a", 3, CLIENT, attributes={"db.system": "d"})
    )
    one.take(one_span("a", 4, CLIENT, attributes={"peer.service": "p"}))
    assert one.wait(11).values(TOTAL, "connection_type") == {
        ("user", "b", "client"): 1,
        ("a", "d"): 1,
        ("a", "p", "server"): 1,
    }


def test_messaging_latency_needs_both_times():
    """A span that does not say when it was must not make a message of half a century."""
    one = fed(enable_messaging_system_latency_histogram=True)
    one.take(one_span("a", 1, PRODUCER, start_time_unix_nano=0), one_span("b", 2, CONSUMER, 1))
    pushed = one.push()
    assert values(pushed, TOTAL, "connection_type") == {("a", "b"): 1}
    assert values(pushed, "traces_service_graph_request_messaging_system_seconds_count") == {}


def test_a_span_that_ends_before_it_starts():
    """It takes no time; so does one whose end is beyond what 63 bits hold."""
    for end_ns in (0, START_NS - 1, 2**63 + START_NS, 2**64 - 1):
        one = fed().take(request([span(1, kind=SERVER, end_time_unix_nano=end_ns)], service_name="a"))
        pushed = one.push()
        assert values(pushed, "traces_service_graph_request_server_seconds_sum", "connection_type") == {
            ("user", "a"): 0
        }


def test_max_items_drops_the_youngest():
    """Beyond max_items halves are dropped and counted; the older ones still find theirs."""
    one = fed(max_items=2).take(*(one_span("a", number, CLIENT) for number in (1, 3)))
    one.push()
    one.wait(1).take(*(one_span("a", number, CLIENT) for number in (5, 7, 9)))
    one.push()
    assert one.generator.stats().edges_dropped == 3
    one.take(*(one_span("b", number + 1, SERVER, number) for number in (1, 3, 5, 7, 9)))
    assert one.values(TOTAL) == {("a", "b"): 2}


def test_renumbered_halves():
    """Texts are forgotten with their series while halves that wait keep theirs."""
    one = fed(wait_s=2000, dimensions=("zone",)).take(one_span("old", 1, SERVER))
    one.push()
    one.wait(600).take(one_span("a", 3, CLIENT, attributes={"zone": "z", "peer.service": "p"}))
    one.wait(400).push()
    one.take(one_span("b", 4, SERVER, 3))
    assert one.values(TOTAL) == {("a", "b", "z"): 1}


@settings(deadline=None, max_examples=examples(40))
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12),
    st.randoms(use_true_random=False),
    st.integers(1, 3),
)
def test_order_does_not_matter(calls, random, partitions):
    """calls: servers of a client, their services. Any order and any batches give an edge for each server."""
    spans, edges = [], Counter()
    for number, (servers, client, server) in enumerate(calls, 1):
        trace = number.to_bytes(16, "big")
        spans.append(one_span(client, 1, CLIENT, trace=trace))
        for copy in range(servers):
            spans.append(one_span(server, 2 + copy, SERVER, 1, trace=trace))
            edges[(client, server)] += 1
    random.shuffle(spans)
    one = fed(partitions)
    while spans:
        count = random.randint(1, 5)
        one.take(*spans[:count])
        del spans[:count]
        if random.random() < 0.3:
            one.push()
    assert one.values(TOTAL) == edges


def test_many_pending_halves_are_cheap():
    """100,000 halves that wait cost the others next to nothing, and are paired when theirs come."""
    count, dtype = 100_000, unpaired_type(0)
    halves = np.zeros(count, dtype)
    halves["key"] = np.random.default_rng(1).permutation(np.arange(1, count + 1).astype(np.uint64) * 7919)
    pairs = Pairs(dtype)
    for part in np.split(halves, 100):
        pairs.pair(part, np.zeros(0, dtype))
    assert len(pairs) == count
    assert len(pairs.runs) < 40
    few = halves[:1000].copy()
    few["key"] += 1  # nobody's
    began_s = time.process_time()
    pairs.pair(few[:500], few[500:])
    assert time.process_time() - began_s < 0.5
    clients, servers = pairs.pair(np.zeros(0, dtype), halves[::-1].copy())
    assert len(clients) == count
    assert (clients["key"] == servers["key"]).all()


def test_edge_keys_are_distinct():
    """Ids that count from 1, as some clients make them, do not collide."""
    traces, spans = np.meshgrid(np.arange(300, dtype=np.uint64), np.arange(300, dtype=np.uint64))
    ids = np.stack([np.zeros(traces.size, np.uint64), traces.ravel()], axis=1)
    assert len(np.unique(edge_keys(ids, spans.reshape(-1, 1)))) == traces.size
