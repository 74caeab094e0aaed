"""What a push says: samples of 0 at the start of a series, markers at its end, labels, requests."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.generator.config import SPAN_METRICS, GeneratorConfig
from agents.generator.processors.tenant import TenantGenerator
from agents.generator.push.requests import encoded
from agents.generator.remote_write.write_request import STALE, requests
from agents.generator.series.series import SeriesTable, TableConfig
from agents.generator.series.snapshot import Metric, Snapshot
from tables.columns.varint import varint
from tests.helpers.generator.generated import DECODER, NOW_MS, Fed, decoded, values
from tests.helpers.generator.remote_write import decoded_series
from tests.helpers.live.whole_way import request, span

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


def one_metric(count, labels=()):
    """A snapshot of a counter of so many label sets."""
    metric = Metric("m", help="About it.", unit="seconds")
    sets = [(*labels, ("n", str(number))) for number in range(count)]
    true = np.ones((count, 1), bool)
    return Snapshot([metric], sets, np.arange(float(count))[:, None], true, ~true)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(st.dictionaries(TEXTS.filter(bool), TEXTS), st.booleans(), st.integers((1 << 35) + 1, (1 << 42) - 1))
def test_requests_decode(labels, created, time_ms):
    """Any labels, with and without a first 0, at any time between 1971 and 2109; empty values are no labels."""
    table = SeriesTable([Metric("m", help="About it.")], lambda _: tuple(labels.items()), TableConfig())
    table.add(0, [np.zeros(3, np.int32)], [np.full(3, 0.5)], [], 0.0)
    snapshot = table.collect(0.0, 1.0)
    snapshot.created[:] = created
    kept = {(name, value) for name, value in labels.items() if value and name not in ("__name__", "le")}
    samples = ([(1 << 35, 0.0)] if created else []) + [(time_ms, 1.5)]
    for version in (1, 2):
        found = decoded_series(requests(snapshot, time_ms, 1 << 35, 10, version=version), version)
        assert {key: one.samples for key, one in found.items()} == {frozenset({("__name__", "m"), *kept}): samples}


def test_both_versions_say_the_same():
    """Samples, native histograms and exemplars; 2.0 also says what a series is, and since when."""
    one = Fed(GeneratorConfig(generate_native_histograms="both"))
    one.take(request([span(1, kind=3), span(2, kind=2, parent_span_id=bytes(7) + b"\1")], service_name="s"))
    first, second = one.push_whole()
    assert all(found.natives or found.samples for found in first.values())
    assert any(found.natives and found.exemplars for found in first.values())
    for labels, found in second.items():
        name = dict(labels)["__name__"]
        kind = 1 if name.endswith("_total") else 3
        assert found.about[0] == kind
        assert found.about[1].endswith(".")
        assert found.about[2] == ("bytes" if "_size_" in name else "seconds" if kind == 3 else "")
        assert found.created_ms == (found.samples or [(found.natives[0].time_ms, 0)])[0][0]
    reply = [[(key, one.samples, one.natives, one.exemplars) for key, one in each.items()] for each in (first, second)]
    assert reply[0] == reply[1]


@pytest.mark.parametrize("version", [1, 2])
def test_requests_are_bounded(version):
    """No more than series_max series are in a request; none is left out."""
    snapshot = one_metric(10)
    snapshot.stale = [
        (labels, np.ones(1, bool), np.zeros(0, bool)) for labels in ((("n", str(n)),) for n in range(20, 23))
    ]
    bodies = list(requests(snapshot, NOW_MS, NOW_MS, series_max=4, version=version))
    assert [len(decoded_series([body], version)) for body in bodies] == [4, 4, 4, 1]
    assert len(decoded_series(bodies, version)) == 13


@pytest.mark.parametrize(
    ("time_ms", "version", "said"),
    [pytest.param(5, 1, "clock", id="clock"), pytest.param(NOW_MS, 3, "got 3", id="version")],
)
def test_what_no_request_can_say_is_told(time_ms, version, said):
    """A time that no varint of 6 bytes holds, and another version of the protocol, are refused by name."""
    with pytest.raises(ValueError, match=said):
        list(requests(one_metric(1), time_ms, time_ms, 1, version=version))


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
    assert one.generator.stats().failed == 1
    assert "cannot be counted" in caplog.text
