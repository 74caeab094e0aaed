"""Ids that name their place, and requests that are sent again and again with new ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import workload
from benchmarks.soak import ids
from benchmarks.soak.template import Template, fields

NUMBERS = st.integers(0, 2**64 - 1)
START_NS = 1_900_000_000_000_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("workload") / "w.otlp"
    workload.write(workload.Options(spans=6000, spans_per_request=100, spans_per_s=2000), path)
    return path, Template(path)


def spans_of(data):
    return list(workload.spans_of(ExportTraceServiceRequest.FromString(data)))


@given(st.lists(NUMBERS, min_size=1), NUMBERS)
def test_mix_can_be_undone(numbers, key):
    """Any number comes back: so no two become one."""
    plain = np.array(numbers, np.uint64)
    assert ids.unmix(ids.mix(plain, key), key).tolist() == numbers


@given(st.integers(0, 2**31), st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_ids_say_where_they_come_from(pass_number, positions):
    """Pass and position come back from a trace's and a span's id."""
    words = ids.words(pass_number, positions)
    for found in (ids.trace_words(ids.trace_ids(words)), ids.span_words(ids.span_ids(words))):
        passes, places = ids.places(found)
        assert (passes == pass_number).all()
        assert places.tolist() == positions


@given(st.binary(min_size=16, max_size=16))
def test_ids_of_others_are_known_as_such(trace_id):
    """An id that was not made here is of no pass."""
    found = ids.trace_words(np.frombuffer(trace_id, np.uint8).reshape(1, 16))
    assert ids.places(found)[0].tolist() == [-1]


def test_a_pass_is_the_workload_with_other_ids_and_times(made):
    """Everything but ids and times stays; times move together; ids are replaced one for one, links and parents too."""
    path, template = made
    kept = workload.Requests(path)
    shift_ns, traces, spans = set(), {}, {}
    links = 0
    for index, request in enumerate(kept):
        before, after = spans_of(request), spans_of(template.request(3, index, START_NS))
        for old, new in zip(before, after, strict=True):
            shift_ns.add(new.start_time_unix_nano - old.start_time_unix_nano)
            shift_ns.add(new.end_time_unix_nano - old.end_time_unix_nano)
            shift_ns |= {n.time_unix_nano - o.time_unix_nano for o, n in zip(old.events, new.events, strict=True)}
            assert traces.setdefault(old.trace_id, new.trace_id) == new.trace_id
            assert spans.setdefault(old.span_id, new.span_id) == new.span_id
            assert (old.name, list(old.attributes), old.kind) == (new.name, list(new.attributes), new.kind)
            if old.parent_span_id:
                assert spans.setdefault(old.parent_span_id, new.parent_span_id) == new.parent_span_id
            for was, now in zip(old.links, new.links, strict=True):
                links += 1
                assert traces.setdefault(was.trace_id, now.trace_id) == now.trace_id
    assert links
    assert len(shift_ns) == 1
    assert len(set(traces.values())) == len(traces) == template.traces
    assert len(set(spans.values())) == len(spans) == template.spans
    assert not set(traces) & set(traces.values())


def test_numbers(made):
    """The template knows which spans of which traces are in which request, and when they are."""
    _, template = made
    times = []
    for index in range(template.requests):
        found = spans_of(template.request(0, index, START_NS))
        times += [at for span in found for at in (span.start_time_unix_nano, span.end_time_unix_nano)]
        assert template.spans_per_request[index] == len(found)
        joined = np.frombuffer(b"".join(span.trace_id for span in found), np.uint8).reshape(-1, 16)
        counts = np.bincount(ids.places(ids.trace_words(joined))[1], minlength=template.traces)
        assert (template.parts[:, index] == counts).all()
        own = np.frombuffer(b"".join(span.span_id for span in found), np.uint8).reshape(-1, 8)
        numbers = ids.places(ids.span_words(own))[1]
        assert (template.request_of[numbers] == index).all()
        assert (template.trace_of[numbers] == ids.places(ids.trace_words(joined))[1]).all()
    assert template.first_ns <= min(times) - START_NS
    assert max(times) - START_NS <= template.last_ns


def test_no_id_twice(made):
    """Another pass has other ids."""
    _, template = made
    one, other = (spans_of(template.request(number, 0, START_NS)) for number in (0, 1))
    assert not {span.span_id for span in one} & {span.span_id for span in other}
    assert not {span.trace_id for span in one} & {span.trace_id for span in other}


def test_fields_refuses_what_is_not_proto3():
    """A group's wire type is named."""
    with pytest.raises(ValueError, match="wire type 3"):
        list(fields(b"\x0b", 0, 1))
