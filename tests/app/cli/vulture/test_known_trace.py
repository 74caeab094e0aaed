"""Traces that follow from seed and time, and what is remembered of those that were written."""

import hashlib
import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.vulture.known_trace import known_trace
from app.cli.vulture.written import Range, StateError, WrittenTraces, load_written, save_written

TIME_S = 1_795_259_580


def test_the_same_in_every_process() -> None:
    """Its bytes, as they were when this test was written: an older process's traces are still known."""
    trace = known_trace("vulture", TIME_S)
    assert (trace.hex_id, len(trace.spans)) == ("1921ac7df0b4bfc883f623ea98e60656", 16)
    sent = trace.whole().SerializeToString(deterministic=True)
    assert hashlib.sha256(sent).hexdigest() == "5226f5ef389959caf6ac979aac026f712679a647d4118a2159cbba268035df91"


@given(st.integers(0, 2**32), st.text(max_size=5))
@settings(max_examples=50)
def test_any_trace_is_whole(time_s: int, seed: str) -> None:
    """Ids are unique, parents come before their children, the writes together are the trace, nothing is in the
    future.
    """
    trace = known_trace(seed, time_s + 10)
    ids = [known.span.span_id for known in trace.spans]
    assert len(set(ids)) == len(ids) >= 3
    assert trace.spans[0].span.parent_span_id == b""
    assert all(known.span.parent_span_id in ids[:number] for number, known in enumerate(trace.spans) if number)
    assert all(known.span.start_time_unix_nano < known.span.end_time_unix_nano for known in trace.spans)
    assert max(known.span.end_time_unix_nano for known in trace.spans) < trace.time_s * 10**9
    sent = [
        span.span_id
        for write in range(trace.writes)
        for group in trace.request(write).resource_spans
        for span in group.scope_spans[0].spans
    ]
    assert sorted(sent) == sorted(ids)


def test_other_seeds_and_times_are_other_traces() -> None:
    traces = [known_trace(seed, time_s) for seed in ("a", "b") for time_s in (101, 102)]
    assert len({trace.trace_id for trace in traces} | {trace.token for trace in traces}) == 8


@given(st.lists(st.integers(0, 60)), st.integers(1, 4))
@settings(max_examples=100)
def test_written_is_a_set_of_times(numbers: list[int], interval_s: int) -> None:
    written = WrittenTraces(interval_s, 10**9)
    for number in numbers:
        written.add(number * interval_s)
    times = [time_s for one in written.ranges for time_s in range(one.first_s, one.last_s + 1, interval_s)]
    assert times == sorted({number * interval_s for number in numbers})
    # Ranges that touch are one.
    assert all(a.last_s + interval_s < b.first_s for a, b in zip(written.ranges, written.ranges[1:], strict=False))
    chosen = {written.choose(Random(seed), 20, 100) for seed in range(200)}
    assert chosen <= {time_s for time_s in times if 20 <= time_s <= 100} | {None}
    assert (chosen == {None}) == (not [time_s for time_s in times if 20 <= time_s <= 100])


def test_what_is_older_than_the_retention_is_forgotten() -> None:
    written = WrittenTraces(15, 100, [Range(0, 30), Range(60, 600)])
    written.forget(650)
    assert written.ranges == ((555, 600),)


def test_years_of_traces_take_little() -> None:
    written = WrittenTraces(1, 10**9)
    for time_s in range(30_000):
        if time_s % 3:
            written.add(time_s)
    assert len(written.ranges) == 10_000


def test_the_state_file(tmp_path) -> None:
    path = tmp_path / "state.json"
    assert load_written(path, "s", 15, 100).ranges == ()
    written = WrittenTraces(15, 100, [Range(0, 30), Range(60, 600)])
    save_written(path, "s", 15, written)
    assert load_written(path, "s", 15, 100).ranges == written.ranges
    with pytest.raises(StateError, match="--write-interval 15s; use these"):
        load_written(path, "s", 30, 100)
    with pytest.raises(StateError, match="--seed s"):
        load_written(path, "other", 15, 100)
    for text in ("{}", "[]", json.dumps({"version": 1, "seed": "s", "interval_s": 15, "written": [[1]]})):
        path.write_text(text)
        with pytest.raises(StateError, match="remove it to start anew"):
            load_written(path, "s", 15, 100)
    path.write_text("no json")
    with pytest.raises(StateError, match="cannot be read"):
        load_written(path, "s", 15, 100)
