"""Remote-write requests decoded by Google's protobuf, from descriptions of the two protocols."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS = {"double": 1, "int64": 3, "uint64": 4, "string": 9, "message": 11, "uint32": 13, "sint32": 17, "sint64": 18}
_SPAN = {1: "offset sint32", 2: "length uint32"}
_SAMPLE = {1: "value double", 2: "timestamp int64"}
_HISTOGRAM = {
    1: "count_int uint64 count", 2: "count_float double count", 3: "sum double", 4: "schema sint32",
    5: "zero_threshold double", 6: "zero_count_int uint64 zero", 7: "zero_count_float double zero",
    11: "positive_spans *BucketSpan", 12: "positive_deltas *sint64", 13: "positive_counts *double",
    15: "timestamp int64",
}  # fmt: skip
_V1 = {
    "Label": {1: "name string", 2: "value string"},
    "Sample": _SAMPLE,
    "Exemplar": {1: "labels *Label", 2: "value double", 3: "timestamp int64"},
    "BucketSpan": _SPAN,
    "Histogram": _HISTOGRAM,
    "TimeSeries": {1: "labels *Label", 2: "samples *Sample", 3: "exemplars *Exemplar", 4: "histograms *Histogram"},
    "WriteRequest": {1: "timeseries *TimeSeries"},
}
_V2 = {
    "Sample": _SAMPLE,
    "Exemplar": {1: "labels_refs *uint32", 2: "value double", 3: "timestamp int64"},
    "BucketSpan": _SPAN,
    "Histogram": _HISTOGRAM,
    "Metadata": {1: "type uint32", 3: "help_ref uint32", 4: "unit_ref uint32"},
    "TimeSeries": {
        1: "labels_refs *uint32", 2: "samples *Sample", 3: "histograms *Histogram", 4: "exemplars *Exemplar",
        5: "metadata Metadata", 6: "created_timestamp int64",
    },
    "Request": {4: "symbols *string", 5: "timeseries *TimeSeries"},
}  # fmt: skip


def _class(package: str, messages: dict[str, dict[int, str]], wanted: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        oneofs: list[str] = []
        for number, text in fields.items():
            name, kind, *oneof = text.split()
            repeated, kind = kind.startswith("*"), kind.lstrip("*")
            made = message.field.add(name=name, number=number, label=3 if repeated else 1)
            made.type = _KINDS.get(kind, _KINDS["message"])
            if kind not in _KINDS:
                made.type_name = f".{package}.{kind}"
            if oneof:
                if oneof[0] not in oneofs:
                    oneofs.append(oneof[0])
                    message.oneof_decl.add(name=oneof[0])
                made.oneof_index = oneofs.index(oneof[0])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{wanted}"))


WriteRequest = _class("prometheus", _V1, "WriteRequest")
Request2 = _class("io.prometheus.write.v2", _V2, "Request")

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Native:
    """A native histogram; counts by bucket index."""

    time_ms: int
    count: float
    sum: float
    schema: int
    zeros: float
    buckets: dict[int, float]
    floats: bool


@dataclass
class OneSeries:
    """exemplars: trace id's label and value, value, time. about: type, help and unit; created_ms: 2.0 only."""

    samples: list[tuple[int, float]] = field(default_factory=list)
    natives: list[Native] = field(default_factory=list)
    exemplars: list[tuple[tuple[str, str], float, int]] = field(default_factory=list)
    about: tuple[int, str, str] | None = None
    created_ms: int = 0


def decoded_series(bodies: Iterable[bytes], version: int = 1) -> dict[Labels, OneSeries]:
    """By label set. No series may be there twice; labels, samples and exemplars must be in order."""
    out: dict[Labels, OneSeries] = {}
    for body in bodies:
        request = WriteRequest.FromString(body) if version == 1 else Request2.FromString(body)
        size = request.ByteSize()
        request.DiscardUnknownFields()
        assert request.ByteSize() == size, "a field that the protocol does not have"
        if version == 2:
            assert request.symbols[0] == ""
            assert len(set(request.symbols)) == len(request.symbols)
        for one in request.timeseries:
            labels = _labels(one, request, version)
            assert labels == sorted(labels), "Prometheus wants labels in order"
            assert len({name for name, _ in labels}) == len(labels)
            assert frozenset(labels) not in out
            out[frozenset(labels)] = _series(one, request, version)
    return out


def _labels(one: Any, request: Any, version: int) -> list[tuple[str, str]]:
    if version == 1:
        return [(label.name, label.value) for label in one.labels]
    texts = [request.symbols[ref] for ref in one.labels_refs]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _series(one: Any, request: Any, version: int) -> OneSeries:
    assert bool(one.samples) != bool(one.histograms), "one kind of samples"
    series = OneSeries(
        [(sample.timestamp, sample.value) for sample in one.samples], [_native(found) for found in one.histograms]
    )
    for found in one.exemplars:
        (label,) = _labels(found, request, version)
        series.exemplars.append((label, found.value, found.timestamp))
    for times in ([time for time, _ in series.samples], [time for *_, time in series.exemplars]):
        assert times == sorted(set(times))
    if version == 2:
        about = one.metadata
        series.about = about.type, request.symbols[about.help_ref], request.symbols[about.unit_ref]
        series.created_ms = one.created_timestamp
    return series


def _native(found: Any) -> Native:
    floats = found.WhichOneof("count") == "count_float"
    assert found.WhichOneof("zero") == ("zero_count_float" if floats else "zero_count_int")
    assert found.zero_threshold == 2.0**-128
    counts, total = list(found.positive_counts), 0
    for delta in found.positive_deltas:
        total += delta
        counts.append(total)
    buckets, at, places = {}, 0, iter(counts)
    for number, span in enumerate(found.positive_spans):
        assert number == 0 or span.offset > 0
        at += span.offset
        for _ in range(span.length):
            buckets[at] = next(places)
            at += 1
    assert next(places, None) is None
    count = found.count_float if floats else found.count_int
    zeros = found.zero_count_float if floats else found.zero_count_int
    return Native(found.timestamp, count, found.sum, found.schema, zeros, buckets, floats)
