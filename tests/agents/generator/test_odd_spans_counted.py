"""What service graphs are known to get wrong, at the level of a tenant's generator, over batches and pushes."""

import time
import tracemalloc
from collections import Counter

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from agents.generator.config import SERVICE_GRAPHS, GeneratorConfig, ServiceGraphsConfig
from tests.helpers.generator.generated import Fed, values
from tests.helpers.live.whole_way import START_NS, request, span

TOTAL = "traces_service_graph_request_total"
FAILED = "traces_service_graph_request_failed_total"
CLIENT_S = "traces_service_graph_request_client_seconds"
SERVER_S = "traces_service_graph_request_server_seconds"
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
MS = 1_000_000
ERROR = Status(code=2)
PUSH = None  # a push between two batches
WAIT_S = 10


def fed(partitions=1, **config):
    graphs = ServiceGraphsConfig(wait_s=WAIT_S, **config)
    return Fed(GeneratorConfig(processors=frozenset({SERVICE_GRAPHS}), service_graphs=graphs), partitions)


def one(service, number, kind, parent=0, ms=1, **fields):
    """A request with one span of the trace."""
    ids = {"parent_span_id": parent.to_bytes(8, "big")} if parent else {}
    return request(
        [span(number, kind=kind, end_time_unix_nano=START_NS + ms * MS, **ids, **fields)], service_name=service
    )


def run(steps, **config):
    """What was pushed by the end of some batches, pushes and waits (numbers, in seconds), and of the wait of all."""
    generator, seen = fed(**config), {}
    for step in [*steps, WAIT_S + 1, PUSH]:
        if step is PUSH:
            seen |= generator.push()
        elif isinstance(step, int):
            generator.wait(step)
        else:
            generator.take(*step)
    return generator, seen


@pytest.mark.parametrize(
    ("steps", "edges", "failed"),
    [
        pytest.param(
            [[one("b", 3, CONSUMER, 1)], PUSH, [one("a", 1, PRODUCER)], PUSH, [one("c", 4, CONSUMER, 1)]],
            {("a", "messaging_system", "b"): 1, ("a", "messaging_system", "c"): 1}, {},
            id="consumers before and after their producer",
        ),
        pytest.param(
            [[one("a", 1, PRODUCER)], *([one("b", number, CONSUMER, 1)] for number in range(2, 7))],
            {("a", "messaging_system", "b"): 5}, {}, id="a group's consumers, one batch each",
        ),
        pytest.param(
            [[one("a", 1, PRODUCER)], [one("b", 2, CONSUMER, 1, status=ERROR)], [one("c", 3, CONSUMER, 1)]],
            {("a", "messaging_system", "b"): 1, ("a", "messaging_system", "c"): 1}, {("a", "messaging_system", "b"): 1},
            id="one of two consumers fails",
        ),
        pytest.param(
            [[one("a", 1, CLIENT)], PUSH, [one("b", 2, SERVER, 1, status=ERROR)], PUSH, [one("b", 3, SERVER, 1)]],
            {("a", "b"): 2}, {("a", "b"): 1}, id="sent again by a proxy: one client's span, two servers'",
        ),
        pytest.param(
            [[one("a", 1, CLIENT, status=ERROR), one("a", 2, CLIENT)], PUSH, [one("b", 3, SERVER, 2)]],
            {("a", "b"): 1}, {}, id="sent again by the client: the first attempt reached nobody",
        ),
        pytest.param(
            [[one("a", 1, CLIENT, status=ERROR, attributes={"peer.service": "b"})], [one("a", 2, CLIENT)], PUSH,
             [one("b", 3, SERVER, 2)]],
            {("a", "b"): 1, ("a", "virtual_node", "b"): 1}, {("a", "virtual_node", "b"): 1},
            id="sent again by the client, which says to whom",
        ),
        pytest.param(
            [[one("b", 2, SERVER, 1)], PUSH, [one("b", 3, CLIENT, 2)], PUSH, [one("a", 1, CLIENT)], PUSH,
             [one("c", 4, SERVER, 3)]],
            {("a", "b"): 1, ("b", "c"): 1}, {}, id="a chain, its halves in any batches",
        ),
        pytest.param(
            [[one("a", 2, SERVER, 1)], PUSH, [one("a", 1, CLIENT)], [one("a", 3, CLIENT, 2), one("a", 4, SERVER, 3)]],
            {("a", "a"): 2}, {}, id="a service that calls itself",
        ),
        pytest.param(
            [[one("a", 1, CLIENT)], WAIT_S - 1, PUSH, [one("b", 2, SERVER, 1)]], {("a", "b"): 1}, {},
            id="just within the wait",
        ),
        pytest.param(
            [[one("a", 1, CLIENT)], WAIT_S + 1, PUSH, [one("b", 2, SERVER, 1)]], {}, {}, id="after the wait",
        ),
        pytest.param(
            [[one("a", 1, CLIENT, attributes={"peer.service": "b"})], WAIT_S + 1, PUSH, [one("b", 2, SERVER, 1)]],
            {("a", "virtual_node", "b"): 1}, {}, id="after the wait, when its peer was counted: not twice",
        ),
        pytest.param(
            [[one("b", 2, SERVER, 1)], PUSH, [one("b", 3, CLIENT, 2, attributes={"db.system": "redis"})]],
            {("b", "database", "redis"): 1}, {}, id="missing client; its database is there",
        ),
        pytest.param(
            [[one("a", 1, CLIENT, attributes={"db.system": "redis"}, status=ERROR)], PUSH,
             [one("a", 2, CLIENT, attributes={"db.system": "redis"})]],
            {("a", "database", "redis"): 2}, {("a", "database", "redis"): 1}, id="a database's failure",
        ),
        pytest.param(
            [[one("a", 1, CLIENT, attributes={"db.system": "redis", "peer.service": "cache"})], PUSH,
             [one("cache", 2, SERVER, 1)]],
            {("a", "database", "cache"): 1}, {}, id="a database that sends spans itself: one edge",
        ),
        pytest.param(
            [[one("a", 1, PRODUCER, attributes={"peer.service": "queue"})], WAIT_S + 1, PUSH],
            {("a", "virtual_node", "queue"): 1}, {}, id="a message that nobody consumes",
        ),
        pytest.param(
            [[one("b", 1, CONSUMER)]], {("user", "virtual_node", "b"): 1}, {}, id="a consumer without a parent",
        ),
        pytest.param(
            [[one("a", 1, CLIENT), one("a", 2, INTERNAL, 1)], [one("b", 3, SERVER, 2)]], {}, {},
            id="an internal span between: who called whom is not known",
        ),
    ],
)  # fmt: skip
def test_edges_over_batches(steps, edges, failed):
    """What each case comes to, however its spans are spread over batches and pushes."""
    _, seen = run(steps)
    assert values(seen, TOTAL) == edges
    assert values(seen, FAILED) == failed


def test_a_failure_counts_for_its_edge_only():
    """The producer's own failure is one of each of its edges."""
    _, seen = run([[one("a", 1, PRODUCER, status=ERROR)], [one("b", 2, CONSUMER, 1)], PUSH, [one("c", 3, CONSUMER, 1)]])
    assert values(seen, FAILED, "connection_type") == {("a", "b"): 1, ("a", "c"): 1}


def test_durations_are_of_the_attempt():
    """Of a call that was sent again, each server's time is observed, and the client's once for each."""
    _, seen = run(
        [[one("a", 1, CLIENT, ms=90)], [one("b", 2, SERVER, 1, ms=20)], PUSH, [one("b", 3, SERVER, 1, ms=50)]]
    )
    assert values(seen, f"{SERVER_S}_sum") == {("a", "b"): pytest.approx(0.07)}
    assert values(seen, f"{CLIENT_S}_sum") == {("a", "b"): pytest.approx(0.18)}
    assert values(seen, f"{CLIENT_S}_count") == {("a", "b"): 2}


def test_missing_halves_are_counted():
    """A client's without a server, a server's without a client: both are told, none becomes an edge."""
    generator, seen = run([[one("a", 1, CLIENT)], PUSH, [one("b", 3, SERVER, 9)]])
    assert values(seen, TOTAL) == {}
    figures = generator.generator.stats()
    assert (figures.edges_waiting, figures.edges_expired, figures.edges_unpaired) == (0, 2, 2)


def test_halves_of_a_trace_share_a_partition():
    """Whatever the number of partitions: client and server of one trace are counted by one worker."""
    generator, want = fed(partitions=7), Counter()
    for number in range(1, 201):
        trace = number.to_bytes(16, "big")
        generator.take(one("b", 2, SERVER, 1, trace=trace))
        generator.take(one("a", 1, CLIENT, trace=trace))
        want["a", "b"] += 1
    assert generator.values(TOTAL) == want


# ---- 100,000 halves that wait

PENDING, AT_ONCE = 100_000, 5_000


def many(service, kind, first):
    """A request with spans of as many traces: clients, or the servers that they called."""
    clients = kind == CLIENT
    ids = {} if clients else {"parent_span_id": (1).to_bytes(8, "big")}
    traces = (number.to_bytes(16, "big") for number in range(first, first + AT_ONCE))
    return request([span(1 if clients else 2, trace=trace, kind=kind, **ids) for trace in traces], service_name=service)


@pytest.fixture(scope="module")
def requests():
    """By kind: requests of 100,000 halves."""
    firsts = range(1, PENDING, AT_ONCE)
    return {kind: [many(service, kind, first) for first in firsts] for service, kind in (("a", CLIENT), ("b", SERVER))}


@pytest.mark.parametrize("order", [pytest.param((CLIENT, SERVER), id="clients first"), pytest.param((SERVER, CLIENT), id="servers first")])  # fmt: skip  # noqa: E501
def test_many_pending_edges(requests, order):
    """Within max_items all are paired when their other halves come, in little time and some 100 bytes each."""
    generator = fed(max_items=PENDING)
    first, second = order
    began_s = time.process_time()
    tracemalloc.start()
    for body in requests[first]:
        generator.take(body)
    generator.push()
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert generator.generator.stats().edges_waiting == PENDING
    assert held_bytes < 200 * PENDING
    for body in reversed(requests[second]):
        generator.take(body)
    assert generator.values(TOTAL) == {("a", "b"): PENDING}
    assert time.process_time() - began_s < 10
    assert generator.generator.stats().edges_waiting == 0


def test_more_pending_edges_than_max_items(requests):
    """Beyond the limit the youngest are dropped and counted; memory stays bounded, the oldest are paired."""
    limit = 20_000
    generator = fed(max_items=limit)
    for body in requests[CLIENT]:
        generator.take(body).push()
        generator.wait(0.001)
    figures = generator.generator.stats()
    assert (figures.edges_waiting, figures.edges_dropped) == (limit, PENDING - limit)
    for body in requests[SERVER][: limit // AT_ONCE]:
        generator.take(body)
    assert generator.values(TOTAL) == {("a", "b"): limit}


def test_pending_edges_expire_at_once(requests):
    """100,000 halves that nothing comes for go in one push, and leave nothing behind."""
    generator = fed(max_items=PENDING)
    for body in requests[CLIENT]:
        generator.take(body)
    generator.push()
    generator.wait(WAIT_S + 1)
    began_s = time.process_time()
    assert generator.push() == {}
    assert time.process_time() - began_s < 1
    figures = generator.generator.stats()
    assert (figures.edges_waiting, figures.edges_expired, figures.edges_unpaired) == (0, PENDING, PENDING)


def test_messages_do_not_hold_their_producers_for_ever():
    """A producer whose consumers have come still goes after the wait: memory does not grow with time."""
    generator = fed()
    traces = [number.to_bytes(16, "big") for number in range(1, 1001)]
    parent = {"parent_span_id": (1).to_bytes(8, "big")}
    sent = request([span(1, trace=trace, kind=PRODUCER) for trace in traces], service_name="a")
    received = request([span(2, trace=trace, kind=CONSUMER, **parent) for trace in traces], service_name="b")
    held_bytes = []
    tracemalloc.start()
    for _ in range(20):
        generator.take(sent, received)
        generator.push()
        generator.wait(WAIT_S + 1).push()
        held_bytes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held_bytes[-1] - held_bytes[4] < 50_000  # one round's producers would be more
    assert generator.generator.stats().edges_expired == 0
    assert generator.values(TOTAL) == {("a", "messaging_system", "b"): 20_000}
