"""Exemplars: spans that are in the bucket that they are an example of, in order of time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.generator.config import SPAN_METRICS, GeneratorConfig
from tests.helpers.examples import examples
from tests.helpers.generator.generated import NOW_MS, Fed
from tests.helpers.live.whole_way import request, span

BUCKET = "traces_spanmetrics_latency_bucket"
NATIVE = "traces_spanmetrics_latency"
PLAIN = GeneratorConfig(processors=frozenset({SPAN_METRICS}))
BOTH = replace(PLAIN, generate_native_histograms="both")


def ended(number, end_ms, ms, trace=None):
    """A span of trace `number` that took `ms` and ended `end_ms` after the clock's beginning."""
    end_ns = (NOW_MS + end_ms) * 1_000_000
    trace = (trace or number).to_bytes(16, "big")
    return span(number, trace=trace, start_time_unix_nano=end_ns - ms * 1_000_000, end_time_unix_nano=end_ns)


def exemplars(pushed, name=BUCKET):
    """Label `le` (or none) → trace number, seconds, milliseconds after the beginning."""
    out = {}
    for labels, one in pushed.items():
        if ("__name__", name) in labels and one.exemplars:
            found = [(int(trace, 16), value, time - NOW_MS) for (_, trace), value, time in one.exemplars]
            out[dict(labels).get("le")] = found
    return out


def test_one_for_each_bucket():
    """The last span of a bucket, under the name that Tempo gives its trace's id, in 32 hex digits."""
    one = Fed(BOTH).take(request([ended(1, -9, 1), ended(2, -8, 1), ended(3, -7, 5)], service_name="s"))
    first, second = one.push_whole()
    for pushed in (first, second):
        assert exemplars(pushed) == {"0.002": [(2, 0.001, -8)], "0.008": [(3, 0.005, -7)]}
        assert exemplars(pushed, NATIVE) == {None: [(2, 0.001, -8), (3, 0.005, -7)]}
    (label, text) = next(found.exemplars[0][0] for found in first.values() if found.exemplars)
    assert label == "traceID"
    assert len(text) == 32


def test_each_is_sent_once_and_time_never_goes_back():
    """A late span is no exemplar after a younger one; nor is one of the future, which would keep all others away."""
    one = Fed(BOTH).take(request([ended(1, -5, 1)], service_name="s"))
    assert exemplars(one.push_whole()[0]) == {"0.002": [(1, 0.001, -5)]}
    one.wait(15).take(request([ended(2, -6, 1)], service_name="s"))
    pushed = one.push_whole()[0]
    assert exemplars(pushed) == exemplars(pushed, NATIVE) == {}
    one.wait(15).take(request([ended(3, 3_600_000, 1)], service_name="s"))
    assert exemplars(one.push_whole()[0]) == {"0.002": [(3, 0.001, 30_000)]}
    one.wait(15).take(request([ended(4, 40_000, 1), ended(5, 41_000, 5)], service_name="s"))
    pushed = one.push_whole()[0]
    assert exemplars(pushed, NATIVE) == {None: [(4, 0.001, 40_000), (5, 0.005, 41_000)]}


@pytest.mark.parametrize(
    ("config", "reply"),
    [
        pytest.param(replace(PLAIN, exemplars=False), set(), id="not kept"),
        pytest.param(replace(PLAIN, trace_id_label_name="trace_id"), {"trace_id"}, id="another name"),
    ],
)
def test_settings(config, reply):
    """Whether there are any, and their label's name."""
    one = Fed(config).take(request([ended(1, -5, 1)], service_name="s"))
    for pushed in one.push_whole():
        assert {name for found in pushed.values() for (name, _), *_ in found.exemplars} == reply


def test_a_target_without_them():
    """One that wants none gets all else."""
    first, second = (Fed(BOTH).take(request([ended(1, -5, 1)], service_name="s")) for _ in range(2))
    (with_them, _), (without, _) = first.push_whole(), second.push_whole(exemplars=False)
    assert any(found.exemplars for found in with_them.values())
    assert not any(found.exemplars for found in without.values())
    assert {key: found.samples for key, found in with_them.items()} == {
        key: found.samples for key, found in without.items()
    }


def test_a_span_without_a_time_is_none():
    """It counts all the same."""
    one = Fed(PLAIN).take(request([span(1, start_time_unix_nano=0, end_time_unix_nano=1_000_000)], service_name="s"))
    pushed = one.push_whole()[0]
    assert exemplars(pushed) == {}
    assert any(found.samples[-1][1] == 1 for found in pushed.values())


def test_edges_have_them():
    """Of the trace, at the end of either side's span; an edge that one span tells whole has that span's."""
    one = Fed(GeneratorConfig())
    client, server = ended(1, -5, 1), ended(2, -4, 200, trace=1)
    client.kind, server.kind, server.parent_span_id = 3, 2, client.span_id
    root = ended(9, -3, 1)
    root.kind = 2
    one.take(request([client], service_name="a"), request([server, root], service_name="b"))
    pushed = one.push_whole()[0]
    found = {}
    for labels, series in pushed.items():
        named = dict(labels)
        if named["__name__"].startswith("traces_service_graph") and series.exemplars:
            side = named["__name__"].removeprefix("traces_service_graph_request_").removesuffix("_seconds_bucket")
            ((_, trace), value, time) = series.exemplars[0]
            found[named["client"], side] = int(trace, 16), value, time - NOW_MS
    assert found == {
        ("a", "client"): (1, 0.001, -5),
        ("a", "server"): (1, 0.2, -4),
        ("user", "server"): (9, 0.001, -3),
        ("user", "client"): (9, 0.0, -4),
    }


SPANS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-50, 5), st.sampled_from([1, 3, 5, 700])), max_size=12)


@settings(deadline=None, max_examples=examples(40))
@given(st.lists(SPANS, min_size=1, max_size=5))
def test_every_exemplar_is_a_span_of_its_series(batches):
    """Over any batches: of the series' service and bucket, younger than those that were pushed before."""
    one, number, known, last = Fed(BOTH), 0, {}, {}
    for batch in batches:
        one.wait(1)
        for service, end_ms, ms in batch:
            number += 1
            now_ms = one.now_ms - NOW_MS
            known[number] = service, ms / 1000, min(now_ms + end_ms, now_ms)
            one.take(request([ended(number, now_ms + end_ms, ms)], service_name=service))
        for labels, found in one.push_whole()[0].items():
            for (_, trace), value, time in found.exemplars:
                named = dict(labels)
                assert known[int(trace, 16)] == (named["service"], value, time - NOW_MS)
                if "le" in named:
                    assert value <= float(named["le"]) <= max(0.002, 2 * value)
                assert time > last.get(labels, 0)
                last[labels] = time
    assert np.all([time > 0 for time in last.values()])
