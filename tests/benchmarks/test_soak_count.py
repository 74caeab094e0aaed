"""What a soak would say of spans that are lost, doubled, of others, or there without acknowledgement."""

import numpy as np
import pytest

from benchmarks import workload
from benchmarks.soak import count, ids
from benchmarks.soak.events import Event, Sample, Schedule, kinds, storage_away
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, UNSENT, Ledger
from benchmarks.soak.report import Report, text
from benchmarks.soak.template import Template
from tests.harness.cluster import BenchError

START_NS = 1_900_000_000_000_000_000


@pytest.fixture
def ledger(tmp_path):
    """Two passes: all acknowledged; and the first request acknowledged, the second unknown, the rest not sent."""
    path = tmp_path / "w.otlp"
    workload.write(workload.Options(spans=2000, spans_per_request=100, spans_per_s=2000), path)
    made = Ledger(Template(path))
    for number in range(2):
        made.begin(START_NS + number * 10**9)
    for index in range(made.template.requests):
        made.note(0, index, ACKNOWLEDGED)
    made.note(1, 0, ACKNOWLEDGED)
    made.note(1, 1, UNKNOWN)
    return made


def stored(ledger, number, indexes):
    """{trace id: number of spans} after those requests were stored."""
    counts = ledger.template.parts[:, indexes].sum(1)
    names = ids.trace_ids(ids.words(number, np.arange(len(counts))))
    return {name.tobytes(): int(of) for name, of in zip(names, counts, strict=True) if of}


def found(monkeypatch, ledger, number, answer):
    monkeypatch.setattr(count, "counted", lambda *_: iter(answer))
    return count.count_pass("http://absent", ledger, number)


def test_ledger_counts(ledger):
    """Spans by what became of their requests."""
    sizes = ledger.template.spans_per_request
    assert ledger.spans(ACKNOWLEDGED) == sizes.sum() + sizes[0]
    assert (ledger.spans(UNKNOWN), ledger.requests(UNKNOWN)) == (sizes[1], 1)
    assert ledger.requests(UNSENT) == ledger.template.requests - 2


@pytest.mark.parametrize(
    ("number", "indexes", "missing", "unacknowledged"),
    [
        pytest.param(0, slice(None), 0, 0, id="all of a whole pass"),
        pytest.param(1, slice(0, 1), 0, 0, id="the acknowledged request alone"),
        pytest.param(1, slice(0, 2), 0, 100, id="the unknown one too"),
        pytest.param(0, slice(1, None), 100, 0, id="a request lost"),
    ],
)
def test_count_pass(monkeypatch, ledger, number, indexes, missing, unacknowledged):
    """What was acknowledged must be there, what was not may be."""
    result = found(monkeypatch, ledger, number, stored(ledger, number, indexes).items())
    assert (result.missing, result.doubled, result.unacknowledged) == (missing, 0, unacknowledged)
    assert result.right == (missing == 0)
    assert bool(result.examples) == (missing > 0)


def test_doubled_and_lost_do_not_make_up_for_each_other(monkeypatch, ledger):
    """One span too many here and one too few there are two faults, though the sum is right."""
    there = stored(ledger, 0, slice(None))
    one, other = list(there)[:2]
    there[one] += 1
    there[other] -= 1
    result = found(monkeypatch, ledger, 0, there.items())
    assert (result.missing, result.doubled, result.spans) == (1, 1, ledger.template.spans)


def test_a_trace_told_twice_is_doubled(monkeypatch, ledger):
    """An answer that has a trace twice counts its spans twice."""
    rows = list(stored(ledger, 0, slice(None)).items())
    assert found(monkeypatch, ledger, 0, [*rows, rows[0]]).doubled == rows[0][1]


def test_what_was_never_sent(monkeypatch, ledger):
    """Spans of requests that were not sent are doubled (more than may be); ids of others are foreign."""
    rows = [*stored(ledger, 1, slice(0, 3)).items(), (bytes(range(16)), 7)]
    result = found(monkeypatch, ledger, 1, rows)
    assert (result.doubled, result.foreign) == (100, 7)


def test_an_answer_that_is_cut_off_is_no_count(monkeypatch):
    """A limit that is reached is told."""
    monkeypatch.setattr(count, "LIMIT", 1)
    monkeypatch.setattr(count, "ask", lambda _: b'{"traces": [{"traceID": "1", "spanSets": [{"matched": 2}]}]}')
    with pytest.raises(BenchError, match="more than one answer holds"):
        list(count.counted("http://absent", 1, 2))


def test_trace_ids_come_without_left_zeros(monkeypatch):
    """The API trims them."""
    monkeypatch.setattr(count, "ask", lambda _: b'{"traces": [{"traceID": "1f", "spanSets": [{"matched": 2}]}]}')
    assert list(count.counted("http://absent", 1, 2)) == [(bytes(15) + b"\x1f", 2)]


def test_a_server_that_is_away_is_told():
    """With the address that was asked."""
    with pytest.raises(BenchError, match=r"127.0.0.1:9/x does not answer"):
        count.ask("http://127.0.0.1:9/x")


def answer_with(monkeypatch, ledger, change):
    """One trace of pass 0 as the API answers it, after `change` of its spans."""
    sent = count.sent_spans(ledger, 0, 0)
    spans = [span for span, _ in sent.values()]
    message = count.TracesData()
    message.resource_spans.add().scope_spans.add().spans.extend(change(list(spans)))
    monkeypatch.setattr(count, "ask", lambda *_: message.SerializeToString())
    return count.check_trace("http://absent", 0, 0, sent)


def renamed(spans):
    spans[0].name += "?"
    return spans


def other_order(spans):
    spans[0].attributes.reverse()
    spans[0].status.SetInParent()
    return spans[::-1]


@pytest.mark.parametrize(
    ("change", "missing", "doubled"),
    [
        pytest.param(lambda spans: spans, 0, 0, id="as sent"),
        pytest.param(other_order, 0, 0, id="in another order"),
        pytest.param(lambda spans: spans[1:], 1, 0, id="one lost"),
        pytest.param(lambda spans: [*spans, spans[0]], 0, 1, id="one doubled"),
        pytest.param(renamed, 1, 0, id="one changed"),
    ],
)
def test_check_trace(monkeypatch, ledger, change, missing, doubled):
    """A trace by id is compared span by span with what was sent."""

    # The ledger's spans must stay as they are: the answer is made of copies.
    def copied(spans):
        return change([count.Span.FromString(span.SerializeToString()) for span in spans])

    result = answer_with(monkeypatch, ledger, copied)
    assert (result.missing, result.doubled, result.foreign) == (missing, doubled, 0)


def test_schedule():
    """A seed fixes it; each kind comes as often as the others; pauses are around the mean."""
    known = list(kinds(20.0).values())
    one, other = Schedule(known, 5, 45.0), Schedule(known, 5, 45.0)
    drawn = [one.next() for _ in range(4 * len(known))]
    assert drawn == [other.next() for _ in drawn]
    assert all(drawn.count(kind) == 4 for kind in known)
    assert all(30 <= one.pause_s() <= 60 for _ in range(100))


def test_storage_away(tmp_path):
    """Neither read nor written meanwhile; afterwards all is there again."""
    folder = tmp_path / "blocks"
    folder.mkdir()
    (folder / "one").write_text("1")
    with storage_away(folder):
        for use in ((folder / "one").read_text, (folder / "two").touch, (folder / "more").mkdir):
            with pytest.raises(NotADirectoryError):
                use()
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("one", "1")]


def report(**changes):
    made = Report("python -m benchmarks.soak", "2027-01-01", "abc", "2 cores", {"A": "1"}, 1.0)
    made.load_s, made.acknowledged, made.counts = 60.0, 600_000, {"by search": count.Found(spans=600_000)}
    made.events = [Event("kill -9 worker", 8.0, 6.0, 7.5, 3), Event("kill -9 worker", 20.0, 4.0, 5.0, 0)]
    made.samples = [Sample(50.0 * n, 1, "worker", 400_000_000) for n in range(12)]
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        pytest.param({}, "every one of 600,000 acknowledged spans is there exactly once, after 2 events", id="right"),
        pytest.param({"counts": {"by search": count.Found(missing=1)}}, "FAILED", id="lost"),
        pytest.param({"counts": {"files": count.Found(doubled=1)}}, "FAILED", id="doubled"),
        pytest.param({"meanwhile": [count.Found(doubled=1)]}, "FAILED", id="doubled during the load"),
        pytest.param({"rejected": 1}, "FAILED", id="rejected"),
        pytest.param({"counts": {}}, "FAILED", id="not counted"),
        pytest.param({"failure": "no disk"}, "FAILED, it did not come to its end: no disk", id="ended early"),
    ],
)
def test_report(changes, verdict):
    """The last line says whether all is well; the table says what happened."""
    reply = text(report(**changes))
    assert reply.splitlines()[-1] == f"VERDICT: {verdict}"
    assert report(**changes).right == verdict.startswith("every")
    assert "kill -9 worker" in reply
    assert "flat" in reply


def test_memory_that_grows_is_told():
    """More in the last third than in the first."""
    grows = [Sample(50.0 * n, 1, "worker", 100_000_000 * (n + 1)) for n in range(12)]
    assert "GROWS" in text(report(samples=grows))
    young = [Sample(one.at_s / 10, one.pid, one.name, one.resident_bytes) for one in grows]
    assert "GROWS" not in text(report(samples=young))
