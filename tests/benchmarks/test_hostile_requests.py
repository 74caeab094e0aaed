"""What hostile clients send: always the same, spread over traces and times, of every kind."""

import re
from collections import Counter

from benchmarks.hostile.examples import START_NS, otlp_requests
from benchmarks.hostile.requests import left_out_spans
from benchmarks.hostile.sent import Maker, Sent
from tables.errors import WireError
from tables.wire.otlp.decoder import OtlpDecoder

METRICS = """# TYPE stretto_spans_duplicate counter
stretto_spans_duplicate_total{place="seal"} 3.0
stretto_spans_duplicate_total{place="flush"} 20.0
stretto_spans_duplicate_total{place="query"} 100.0
stretto_spans_accepted_total{receiver="otlp"} 1000.0
"""

GOOD = otlp_requests()[1:3]
MANY = 3000


def _kind(sent: Sent) -> str:
    if sent.broken:
        return "broken"
    if sent.query:
        return "query"
    head = sent.data.partition(b"\r\n\r\n")[0]
    if b"application/json" in head:
        return "json"
    return ("gzip" if b"gzip" in head else "protobuf") + (" bad" if sent.body is None else "")


def test_the_same_seed_sends_the_same() -> None:
    one, other, another = Maker(1, GOOD), Maker(1, GOOD), Maker(2, GOOD)
    made = [one.http() for _ in range(50)]
    assert made == [other.http() for _ in range(50)]
    assert made != [another.http() for _ in range(50)]


def test_every_kind_is_sent() -> None:
    maker = Maker(1, GOOD)
    counts = Counter(_kind(maker.http()) for _ in range(MANY))
    assert counts.keys() == {"broken", "query", "json", "protobuf", "gzip", "gzip bad"}
    assert min(counts.values()) > MANY / 100


def test_accepted_spans_are_in_traces_and_times_of_their_own() -> None:
    """Else one trace grows until nobody can read it, and each query reads all that was ever sent."""
    maker, decoder = Maker(1, GOOD), OtlpDecoder()
    traces: Counter[bytes] = Counter()
    minutes: Counter[int] = Counter()
    for _ in range(MANY):
        sent = maker.http()
        if sent.body is None or sent.broken:
            continue
        try:
            spans = decoder.decode([sent.body]).spans
        except WireError:
            continue
        traces.update(set(spans["trace_id"].to_pylist()))
        minutes.update({(start_ns - START_NS) >> 36 for start_ns in spans["start_ns"].to_pylist()})
    assert max(traces.values()) < sum(traces.values()) / 10
    assert {minute for minute, _ in minutes.most_common(3)} == {0, 1, 2}


def test_queries_ask_for_the_time_of_the_spans_beside_them() -> None:
    maker, asked = Maker(1, GOOD), Counter[tuple[int, int]]()
    for number in range(MANY):
        sent = maker.http()
        for start_s in re.findall(rb"[?&]start=(\d{10})&", sent.data) if sent.query else ():
            asked[number // 1000, (int(start_s) + 30 - START_NS // 10**9) * 10**9 >> 36] += 1
    for minute in range(3):
        here = {window: count for (of, window), count in asked.items() if of == minute}
        # The first one asks for a moment before its minute: times are whole seconds.
        assert max(here, key=here.__getitem__) in (minute, minute - 1)


def test_spans_that_equal_others_are_left_out_of_blocks() -> None:
    """What queries leave out is still there."""
    assert left_out_spans(METRICS, "seal", "flush", "compaction") == 23
    assert left_out_spans("", "seal") == 0
