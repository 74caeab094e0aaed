"""The language of testdata/*.test.

    load
      t1 a    resource.service.name=api kind=server duration=120ms
      t1 b<a  span.retries=3 status=error

    query { status = error }
      t1: b(status=error)

`event=name@5ms` is an event 5 ms after the start, `link=t1/b` a link; `event.key=…`, `link.key=…` are attributes of the
one before. A line of `load` is a span: its trace, its id, after < its parent's id, then fields: name, kind, status,
statusMessage, start, duration, scope (as name or name/version), and attributes with their scope. Values: whole
numbers, floats, true, false, JSON arrays and strings; everything else is a string as it stands. Starts count from
the line before plus 1 ms; `start=none` and `duration=none` (no end) are 0, `start=late` is 2^64 - 1 ns. A line of a
search's answer is a trace, newest first: its matched spans with what is shown of them, spansets parted by |. A line of
a metrics query's answer is a series: its samples of 30 s, every 10 s, - for none.
"""

import json
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue

from query.errors import TraceQLError
from query.language.words import KIND, STATUS, duration_ns
from query.metrics.metrics import metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest
from query.results import Series, SpanSet, TraceMatch
from query.search.search import search
from tables.columns.in_memory import TableSource
from tables.parquet.group import GroupSource
from tables.parquet.small_files import SmallFile, load
from tables.schema import attribute_column
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tests.helpers.live.whole_way import Way
from tests.helpers.querying.otlp_rows import make_table, request_of

FIELD = re.compile(r'([\w.:/-]+)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S+)')
START_NS = 1_700_000_000_000_000_000


KINDS = ("query", "range", "instant")
S = 1_000_000_000


WAYS = ("stitched", "head", "segment", "group")


def answer(load: str, kind: str, query: str, way: str = "stitched") -> list[str]:
    """Lines of an answer; the same however the spans are split over sources.

    way: "stitched": tables put together by the engine itself; "head", "segment": the spans are sent, and are looked for
        in a head or, sealed, in a file; "group": in small files that are read together, two at a time
    """
    rows = load_rows(load)
    ask = {"query": _search, "range": _range, "instant": _instant}[kind]

    def _answer(sources: list[Any], query: str) -> list[str]:
        try:
            return ask(sources, query) or ["nothing"]
        except TraceQLError as err:
            return str(err).splitlines()

    lines = _answer(_sources(rows, 1, way), query)
    for parts in (2, 3):
        split = _sources(rows, min(parts, len(rows)), way)
        assert _answer(split, query) == lines, f"another answer when split over {parts} sources: {query}"
    return lines


_KEPT: dict[Any, list[Any]] = {}


def _sources(rows: list[dict[str, Any]], parts: int, way: str) -> list[Any]:
    """The rows in so many sources, which know nothing of each other. The last that were made are kept."""
    key = (repr(rows), parts, way)
    if key not in _KEPT:
        while len(_KEPT) > 20:
            del _KEPT[next(iter(_KEPT))]
        if way == "group":
            _KEPT[key] = _groups([Way(request_of(rows[part::parts][::-1])).file for part in range(parts)])
        else:
            _KEPT[key] = [one for part in range(parts) for one in _sent(rows[part::parts], way)]
    return _KEPT[key]


def _sent(rows: list[dict[str, Any]], way: str) -> list[Any]:
    if way == "stitched":
        return [TableSource(make_table(rows))]
    # The last first: what answers say does not depend on the order in which spans come.
    sent = Way(request_of(rows[::-1]))
    return sent.head if way == "head" else [sent.source]


def _groups(files: list[Any]) -> list[Any]:
    cache: Any = ByteCache("test", 1 << 26)
    loaded = []
    for number, data in enumerate(files):
        rows = pq.read_metadata(pa.BufferReader(data)).num_rows
        file = SmallFile(f"file {number}", data.size, rows, tail_of(data))
        loaded.append((file, load(file, data)))
    groups = []
    for first in range(0, len(files), 2):
        some, bytes_of = zip(*loaded[first : first + 2], strict=True)
        groups.append(GroupSource(f"group {first}", some, lambda _, of=bytes_of: of, cache))
    return groups


def load_table(load: str) -> pa.Table:
    return make_table(load_rows(load))


def load_rows(load: str) -> list[dict[str, Any]]:
    rows, start_ns = [], START_NS
    for line in load.splitlines()[1:]:
        if not line.strip() or line.strip().startswith("#"):
            continue
        start_ns += 1_000_000
        row = _row(line, start_ns)
        start_ns = max(row["start_ns"], start_ns)
        rows.append(row)
    return rows


def _row(line: str, start_ns: int) -> dict[str, Any]:
    trace, span = line.split()[:2]
    span, _, parent = span.partition("<")
    row = {
        "trace_id": trace.encode().rjust(16, b"\0"),
        "span_id": span.encode().rjust(8, b"\0"),
        "parent_span_id": parent.encode().rjust(8, b"\0"),
        "start_ns": start_ns,
        "duration_ns": 1_000_000,
    }
    for name, text in FIELD.findall(line):
        if name.startswith(("event", "link")):
            _entry(row, name, text)
        else:
            row |= _field(name, text)
    if row["duration_ns"] is None:
        row["duration_ns"] = -row["start_ns"]  # its end is 0
    return row


def _entry(row: dict[str, Any], name: str, text: str) -> None:
    scope, _, key = name.partition(".")
    entries = row.setdefault(f"{scope}s", [])
    if key:
        word, value = _value(text)
        if word.endswith("[]"):
            items = [AnyValue(**{f"{word.removesuffix('[]')}_value": item}) for item in value]
            word, value = "array", ArrayValue(values=items).SerializeToString()
        entries[-1]["attributes"].append({"key": key, f"{word}_value": value})
    elif scope == "event":
        event, _, after = text.partition("@")
        event = json.loads(event) if event.startswith('"') else event
        entries.append({"time_ns": row["start_ns"] + duration_ns(after), "name": event, "attributes": []})
    else:
        trace, _, span = text.partition("/")
        ids = {"trace_id": trace.encode().rjust(16, b"\0"), "span_id": span.encode().rjust(8, b"\0")}
        entries.append({**ids, "attributes": []})


def _field(name: str, text: str) -> dict[str, Any]:
    match name:
        case "name":
            return {"name": json.loads(text) if text.startswith('"') else text}
        case "statusMessage":
            return {"status_message": json.loads(text) if text.startswith('"') else text}
        case "kind":
            return {"kind": KIND[text]}
        case "status":
            return {"status_code": STATUS[text]}
        case "start":
            if text == "late":  # no signed number holds it
                return {"start_ns": -1}
            return {"start_ns": 0 if text == "none" else START_NS + duration_ns(text)}
        case "duration":
            return {"duration_ns": None if text == "none" else duration_ns(text)}
        case "scope":
            scope_name, _, version = text.partition("/")
            return {"scope_name": scope_name, "scope_version": version}
    scope, _, key = name.partition(".")
    word, value = _value(text)
    return {attribute_column(scope, key, word): value}


def _value(text: str) -> tuple[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return "string", text
    words = {bool: "bool", int: "int", float: "double", str: "string"}
    if isinstance(value, list):
        return f"{words[type(value[0])]}[]", value
    return words[type(value)], value


def _search(sources: list[TableSource], query: str) -> list[str]:
    return [_line(trace) for trace in search(sources, SearchRequest(query=query, spans_per_span_set=10)).traces]


def _range(sources: list[TableSource], query: str) -> list[str]:
    span = {"start_ns": START_NS, "end_ns": START_NS + 30 * S, "step_ns": 10 * S}
    return [_samples(series, 4) for series in metrics_range(sources, RangeRequest(query=query, **span)).series]


def _instant(sources: list[TableSource], query: str) -> list[str]:
    result = metrics_instant(sources, InstantRequest(query=query, start_ns=START_NS, end_ns=START_NS + 30 * S))
    return [_samples(series, 0) for series in result.series]


def _samples(series: Series, count: int) -> str:
    labels = " ".join(f"{key}={_text(value)}" for key, value in series.labels)
    values = {(ns - START_NS) // (10 * S): f"{value:.6g}" for ns, value in series.samples}
    shown = [values.get(i, "-") for i in range(count)] if count else list(values.values())
    return f"{labels}: {' '.join(shown)}"


def _line(trace: TraceMatch) -> str:
    return f"{_id(trace.trace_id)}: {' | '.join(map(_span_set, trace.span_sets))}"


def _span_set(span_set: SpanSet) -> str:
    spans = []
    for span in span_set.spans:
        fields = [("name", span.name)] if span.name else []
        shown = " ".join(f"{key}={_text(value)}" for key, value in [*fields, *span.attributes])
        spans.append(_id(span.span_id) + (f"({shown})" if shown else ""))
    said = [f"{key}={_text(value)}" for key, value in span_set.attributes]
    return " ".join([*said, *spans])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _id(raw: bytes) -> str:
    return raw.lstrip(b"\0").decode()
