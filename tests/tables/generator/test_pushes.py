"""What a push says: samples of 0 at the start of a series, markers at its end, labels, requests."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.generator.config import SPAN_METRICS, GeneratorConfig
from tables.generator.tenant import TenantGenerator, encoded
from tables.generator.write_request import STALE, requests, series_head, varint
from tests.helpers.generated import DECODER, NOW_MS, Fed, decoded, values
from tests.helpers.whole_way import request, span

CALLS = "traces_spanmetrics_calls_total"
ONE = GeneratorConfig(processors=frozenset({SPAN_METRICS}), external_labels=(("cluster", "c"), ("service", "mine")))


def samples(pushed, name=CALLS):
    (found,) = [found for labels, found in pushed.items() if ("__name__", name) in labels]
    return found


def test_a_series_begins_with_zero():
    """A 0 just after the push before, so that increase() over any range sees the first increase; later none."""
    one = Fed(ONE).take(request([span(1)], service_name="s"))
    assert samples(one.push()) == [(NOW_MS - 15_000 + 1, 0.0), (NOW_MS, 1.0)]
    one.wait(15).take(request([span(2)], service_name="s"))
    assert samples(one.push()) == [(NOW_MS + 15_000, 2.0)]
    assert samples(one.wait(15).push()) == [(NOW_MS + 30_000, 2.0)]


def test_a_series_ends_with_a_marker_and_can_begin_again():
    """After stale_duration_s Prometheus is told that the series has ended; it comes back from 0."""
    one = Fed(ONE).take(request([span(1)], service_name="s"))
    first = one.push()
    last = one.wait(901).push()
    assert last.keys() == first.keys()
    assert all(struct.pack("<d", value) == STALE for found in last.values() for _, value in found)
    assert math.isnan(samples(last)[0][1])
    assert one.wait(15).push() == {}
    one.wait(15).take(request([span(2)], service_name="s"))
    assert [value for _, value in samples(one.push())] == [0.0, 1.0]


def test_external_labels():
    """On every series; a label that the series has itself stays."""
    one = Fed(ONE).take(request([span(1)], service_name="s"))
    assert all({("cluster", "c"), ("service", "s")} <= labels for labels in one.push())


def test_a_partition_that_goes_takes_what_was_not_collected_along():
    """Its next owner counts that; what was collected stays, and so does what other partitions brought."""
    one = Fed(ONE).take(request([span(1)], service_name="s"))
    one.push()
    one.take(request([span(2), span(3)], service_name="s"))
    one.generator.forget(0)
    assert [value for _, value in samples(one.push())] == [1.0]
    one.take(request([span(4)], service_name="s"))
    assert [value for _, value in samples(one.push())] == [2.0]


@given(st.dictionaries(st.text(min_size=1), st.text(max_size=300)), st.booleans(), st.integers(1 << 35, (1 << 42) - 1))
def test_requests_decode(labels, created, time_ms):
    """Any labels, with and without a first 0, at any time between 1971 and 2109; empty values are no labels."""
    head = series_head(tuple(labels.items()))
    values_, new = np.array([1.5]), np.array([created])
    (body,) = requests([head], values_, new, [], time_ms, 1 << 35, series_max=10)
    kept = frozenset((name, value) for name, value in labels.items() if value)
    assert decoded([body]) == {kept: ([(1 << 35, 0.0)] if created else []) + [(time_ms, 1.5)]}


def test_requests_are_bounded():
    """No more than series_max series are in a request; none is left out."""
    heads = [series_head((("n", str(number)),)) for number in range(10)]
    bodies = list(requests(heads, np.arange(10.0), np.zeros(10, bool), heads[:3], NOW_MS, NOW_MS, series_max=4))
    assert [len(decoded([body])) for body in bodies] == [4, 4, 2, 3]


def test_a_wrong_clock_is_told():
    """A time that no varint of 6 bytes holds is refused by name."""
    with pytest.raises(ValueError, match="clock"):
        list(requests([], np.zeros(0), np.zeros(0, bool), [], 5, 5, 1))


@pytest.mark.parametrize(("number", "encoded"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varint(number, encoded):
    """Protobuf's own examples."""
    assert varint(number) == encoded


def test_spans_of_a_shared_record():
    """Rows of a slice are counted, and only those."""
    sent = request([span(n, name=f"n{n}", attributes={"k": f"v{n}"}) for n in range(1, 6)], service_name="s")
    batch = DECODER.decode([sent]).spans
    generator = TenantGenerator(GeneratorConfig())
    generator.add(0, batch.slice(1, 2), NOW_MS, NOW_MS / 1000)
    pushed = decoded(encoded(generator.collect(NOW_MS / 1000), NOW_MS, NOW_MS - 1))
    assert set(values(pushed, CALLS, "service", "span_kind", "status_code")) == {("n2",), ("n3",)}


def test_what_cannot_be_counted_does_not_stop_the_rest(monkeypatch, caplog):
    """A fault of one processor costs its own counts of those rows, and is told."""
    one = Fed(GeneratorConfig()).take(request([span(1)], service_name="s"))
    monkeypatch.setattr(one.generator._graph, "add", lambda *_: 1 / 0)
    assert one.values(CALLS, "service", "span_name", "span_kind", "status_code") == {(): 1}
    assert one.generator.figures().failed == 1
    assert "cannot be counted" in caplog.text
