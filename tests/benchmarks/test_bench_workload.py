"""The workload is the same bytes every time, in the shape that the benchmark's figures presuppose."""

import struct
from collections import defaultdict

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import workload
from benchmarks.workload import Options, Requests, spans_of

OPTIONS = Options(spans=10_000)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("workload") / "one.otlp"
    workload.write(OPTIONS, path)
    return path


@pytest.fixture(scope="module")
def messages(file):
    return [ExportTraceServiceRequest.FromString(request) for request in Requests(file)]


def test_same_options_same_bytes(file, tmp_path):
    """The seed fixes every byte; another seed makes other ones."""
    workload.write(OPTIONS, tmp_path / "again.otlp")
    workload.write(Options(spans=10_000, seed=2), tmp_path / "other.otlp")
    assert (tmp_path / "again.otlp").read_bytes() == file.read_bytes()
    assert (tmp_path / "other.otlp").read_bytes() != file.read_bytes()


def test_requests_are_full_and_grouped(messages):
    """Every request but the last has 512 spans; each resource is there once in a request; some 42 in all."""
    counts = [sum(1 for _ in spans_of(message)) for message in messages]
    assert set(counts[:-1]) == {512}
    assert 0 < counts[-1] <= 512
    assert OPTIONS.spans <= sum(counts) < OPTIONS.spans + 100
    everywhere = set()
    for message in messages:
        resources = [group.resource.SerializeToString(deterministic=True) for group in message.resource_spans]
        assert len(set(resources)) == len(resources)
        everywhere |= set(resources)
    assert 35 <= len(everywhere) <= 45


def test_sizes(file, messages):
    """About 360 bytes a span, 20 to 30 spans a trace, and a trace's spans in several requests."""
    spans = sum(1 for message in messages for _ in spans_of(message))
    assert 330 < file.stat().st_size / spans < 390
    where = defaultdict(set)
    for number, message in enumerate(messages):
        for span in spans_of(message):
            where[span.trace_id].add(number)
    assert 20 < spans / len(where) < 30
    assert sum(len(numbers) > 1 for numbers in where.values()) > len(where) / 2


def test_times_follow_the_rate(messages):
    """Traces start at the given start and go on at the given rate."""
    starts = [span.start_time_unix_nano for message in messages for span in spans_of(message)]
    assert min(starts) == OPTIONS.start_s * 10**9
    roots = [span.start_time_unix_nano for message in messages for span in spans_of(message) if not span.parent_span_id]
    expected_ns = 10**9 * OPTIONS.spans / OPTIONS.spans_per_s
    assert (max(roots) - min(roots)) / expected_ns == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("per_request", "spans"),
    [
        pytest.param(1, 100, id="one span a request"),
        pytest.param(10, 1_000, id="ten"),
        pytest.param(100_000, 1_000, id="all in one"),
    ],
)
def test_spans_per_request(per_request, spans):
    """Requests have the size that was asked for, and together all spans."""
    made = list(workload.requests(Options(spans=spans, spans_per_request=per_request)))
    assert {count for _, count in made[:-1]} <= {per_request}
    assert sum(count for _, count in made) >= spans
    assert all(workload.count_spans(request) == count for request, count in made)


def test_cache_keeps_and_names(tmp_path):
    """The second time the file is taken as it is; other options have another file."""
    options = Options(spans=100)
    first = workload.cached(options, tmp_path)
    modified_ns = first.stat().st_mtime_ns
    assert workload.cached(options, tmp_path) == first
    assert first.stat().st_mtime_ns == modified_ns
    assert workload.cached(Options(spans=101), tmp_path) != first
    assert len(list(tmp_path.glob("*.otlp"))) == 2


def test_cache_forgets_older_versions(tmp_path):
    """What another version of the code made is removed when there is something newer; git passes it all by."""
    old = tmp_path / "workload-100-1-1-1-1-0badc0de.otlp"
    old.write_bytes(b"")
    workload.cached(Options(spans=100), tmp_path)
    assert not old.exists()
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_moved(file, messages, tmp_path):
    """Moving changes all times by the same and nothing else."""
    start_ns = 1_900_000_000_000_000_000
    count = workload.moved(file, start_ns, tmp_path / "moved.otlp")
    assert count == sum(1 for message in messages for _ in spans_of(message))
    there = [ExportTraceServiceRequest.FromString(request) for request in Requests(tmp_path / "moved.otlp")]
    assert min(span.start_time_unix_nano for span in spans_of(there[0])) == start_ns
    shifts = set()
    for before, after in zip(messages, there, strict=True):
        for old, new in zip(spans_of(before), spans_of(after), strict=True):
            shifts.add(new.start_time_unix_nano - old.start_time_unix_nano)
            shifts.add(new.end_time_unix_nano - old.end_time_unix_nano)
            shifts |= {b.time_unix_nano - a.time_unix_nano for a, b in zip(old.events, new.events, strict=True)}
            assert (new.name, new.span_id, new.attributes) == (old.name, old.span_id, old.attributes)
    assert len(shifts) == 1


def test_moved_back_is_the_same(file, messages, tmp_path):
    """There and back again: not a byte differs."""
    first_ns = min(span.start_time_unix_nano for span in spans_of(messages[0]))
    workload.moved(file, first_ns + 10**15, tmp_path / "there.otlp")
    workload.moved(tmp_path / "there.otlp", first_ns, tmp_path / "back.otlp")
    assert list(Requests(tmp_path / "back.otlp")) == list(Requests(file))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"\x01\x00", "ends within the length at byte 0", id="length cut"),
        pytest.param(struct.pack("<I", 5) + b"abc", "ends within request 0", id="request cut"),
    ],
)
def test_cut_files(data, problem, tmp_path):
    """A file that was cut is refused, not half sent."""
    path = tmp_path / "cut.otlp"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=problem):
        Requests(path)


def test_requests_by_number(tmp_path):
    """The requests of a file are a sequence."""
    path = tmp_path / "three.otlp"
    path.write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in (b"a", b"", b"ccc")))
    requests = Requests(path)
    assert len(requests) == 3
    assert requests[2] == b"ccc"
    assert requests[:2] == [b"a", b""]
    assert list(requests) == [b"a", b"", b"ccc"]


def test_command(tmp_path, capsys):
    """The command writes the file and says what is in it."""
    out = tmp_path / "w.otlp"
    assert workload.main(["--spans", "500", "--spans-per-request", "50", "--out", str(out)]) == 0
    assert sum(map(workload.count_spans, Requests(out))) == int(capsys.readouterr().out.split()[0]) >= 500
