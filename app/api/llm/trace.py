"""A trace for language models: Tempo's form, whole; and a shorter one, whose size has a limit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from app.api.llm.values import milliseconds, moment, plain

Json = dict[str, Any]
# For what stands around the spans.
_FRAME_BYTES: Final = 1000
# So many spans one after the other that do not fit: the rest would not either.
_MISSES_MAX: Final = 100
SERVICE: Final = "service.name"


def whole_trace(groups: Sequence[ResourceSpans], *, complete: bool, message: str) -> Json:
    """Tempo's form: services, their scopes, their spans, attributes as plain values. {} for no trace"""
    if not groups:
        return {}
    services = []
    for group in groups:
        scopes = [
            {
                **_filled(name=one.scope.name, version=one.scope.version),
                "spans": [_whole_span(span) for span in one.spans],
            }
            for one in group.scope_spans
        ]
        services.append({**_resource(group, short=False), "scopes": scopes})
    trace = {"traceId": _first(groups).trace_id.hex(), "services": services}
    return {"trace": trace, "status": "COMPLETE" if complete else "PARTIAL", **_filled(message=message)}


def _whole_span(span: Span) -> Json:
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    return {
        "spanId": span.span_id.hex(),
        "name": span.name,
        **_filled(
            parentSpanId=span.parent_span_id.hex(),
            kind=Span.SpanKind.Name(span.kind) if span.kind in _KINDS and span.kind else "",
            startTimeUnixNano=str(start_ns) if start_ns else "",
            endTimeUnixNano=str(end_ns) if end_ns else "",
            durationMs=(end_ns - start_ns) / 1e6 if start_ns and end_ns else 0,
            attributes=plain(span.attributes),
            events=[
                {
                    "name": event.name,
                    **_filled(timeUnixNano=str(event.time_unix_nano), attributes=plain(event.attributes)),
                }
                for event in span.events
            ],
            links=_links(span, short=False),
        ),
        "status": {"code": _code(span), "message": span.status.message},
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """A span, and where it is: the number of its group and of its scope there."""

    group: int
    scope: int
    span: Span

    @property
    def length_ns(self) -> int:
        return self.span.end_time_unix_nano - self.span.start_time_unix_nano

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR


def short_trace(groups: Sequence[ResourceSpans], *, complete: bool, message: str, bytes_max: int) -> Json:
    """The trace in about `bytes_max`: a summary, then as many spans as fit: failed ones and the longest first, each
    with those above it. `truncated` says what is left out.
    """
    rows = list(_rows(groups))
    first_ns = min(row.span.start_time_unix_nano for row in rows)
    spans, all_fit = _chosen(groups, rows, first_ns, bytes_max - _FRAME_BYTES)
    out: Json = {"trace": {**_summary(groups, rows, first_ns), "services": _services(groups, spans)}}
    if not complete:
        out |= {"status": "PARTIAL", "message": message}
    if not all_fit:
        out["truncated"] = (
            f"{len(spans)} of {len(rows)} spans are shown: failed and long ones first, with their ancestors. Ask again "
            "with filter-query for others."
        )
    return out


def _summary(groups: Sequence[ResourceSpans], rows: Sequence[_Row], first_ns: int) -> Json:
    known = {row.span.span_id for row in rows}
    roots = [row for row in rows if row.span.parent_span_id not in known]
    root = min(roots or rows, key=lambda row: (bool(row.span.parent_span_id), row.span.start_time_unix_nano))
    last_ns = max(row.span.end_time_unix_nano for row in rows)
    return {
        "traceId": root.span.trace_id.hex(),
        "rootServiceName": _service(groups[root.group]),
        "rootTraceName": root.span.name,
        "startTime": moment(first_ns),
        "durationMs": milliseconds(max(0, last_ns - first_ns)),
        "spanCount": len(rows),
        "errorCount": sum(row.failed for row in rows),
    }


def _chosen(
    groups: Sequence[ResourceSpans], rows: Sequence[_Row], first_ns: int, bytes_max: int
) -> tuple[dict[_Row, orjson.Fragment], bool]:
    by_id = {row.span.span_id: row for row in rows}
    order = sorted(rows, key=lambda row: (row.span.parent_span_id in by_id, not row.failed, -row.length_ns))
    texts: dict[_Row, bytes] = {}
    groups_seen: set[int] = set()
    left, misses = bytes_max, 0
    for row in order:
        if row in texts:
            continue
        path = {one: orjson.dumps(_short_span(one.span, first_ns)) for one in _upwards(row, by_id, texts)}
        new_groups = {one.group for one in path} - groups_seen
        cost = sum(len(text) + 1 for text in path.values())
        cost += sum(len(orjson.dumps(_resource(groups[at], short=True))) + 50 for at in new_groups)
        if cost > left:
            misses += 1
            if misses > _MISSES_MAX:
                break
            continue
        left, misses = left - cost, 0
        texts |= path
        groups_seen |= new_groups
    ordered = sorted(texts, key=lambda row: row.span.start_time_unix_nano)
    return {row: orjson.Fragment(texts[row]) for row in ordered}, len(texts) == len(rows)


def _upwards(row: _Row, by_id: dict[bytes, _Row], known: dict[_Row, bytes]) -> list[_Row]:
    """The span and those above it that are not known; parents in a circle end it."""
    path: list[_Row] = []
    one: _Row | None = row
    seen: set[int] = set()
    while one is not None and one not in known and id(one) not in seen:
        path.append(one)
        seen.add(id(one))
        one = by_id.get(one.span.parent_span_id)
    return path


def _services(groups: Sequence[ResourceSpans], spans: dict[_Row, orjson.Fragment]) -> list[Json]:
    places: dict[int, dict[int, list[orjson.Fragment]]] = {}
    for row, text in spans.items():
        places.setdefault(row.group, {}).setdefault(row.scope, []).append(text)
    return [
        {
            **_resource(groups[at], short=True),
            "scopes": [
                {**_filled(name=groups[at].scope_spans[scope].scope.name), "spans": texts}
                for scope, texts in scopes.items()
            ],
        }
        for at, scopes in places.items()
    ]


def _short_span(span: Span, first_ns: int) -> Json:
    """Times as milliseconds since the start of the trace; a status only where there is one."""
    start_ns = span.start_time_unix_nano
    failed = _code(span).removeprefix("STATUS_CODE_").lower() if span.status.code else ""
    return {
        "spanId": span.span_id.hex(),
        **_filled(parentSpanId=span.parent_span_id.hex()),
        "name": span.name,
        **_filled(kind=_kind(span)),
        "startMs": milliseconds(start_ns - first_ns),
        "durationMs": milliseconds(max(0, span.end_time_unix_nano - start_ns)),
        **_filled(
            status=f"{failed}: {span.status.message}" if span.status.message else failed,
            attributes=plain(span.attributes, short=True),
            events=[
                {
                    "name": event.name,
                    "atMs": milliseconds(event.time_unix_nano - first_ns),
                    **_filled(attributes=plain(event.attributes, short=True)),
                }
                for event in span.events
            ],
            links=_links(span, short=True),
        ),
    }


def _links(span: Span, *, short: bool) -> list[Json]:
    return [
        {
            "traceId": link.trace_id.hex(),
            "spanId": link.span_id.hex(),
            **_filled(attributes=plain(link.attributes, short=short)),
        }
        for link in span.links
    ]


def _resource(group: ResourceSpans, *, short: bool) -> Json:
    attributes = plain(group.resource.attributes, short=short)
    name = attributes.get(SERVICE)
    if isinstance(name, str):
        del attributes[SERVICE]
    return _filled(serviceName=name if isinstance(name, str) else "", resource=attributes)


def _service(group: ResourceSpans) -> str:
    return str(_resource(group, short=True).get("serviceName", ""))


def _rows(groups: Sequence[ResourceSpans]) -> Iterator[_Row]:
    for at, group in enumerate(groups):
        for scope_at, scope in enumerate(group.scope_spans):
            for span in scope.spans:
                yield _Row(at, scope_at, span)


def _first(groups: Sequence[ResourceSpans]) -> Span:
    return next(_rows(groups)).span


_KINDS: Final = frozenset(Span.SpanKind.values())
_CODES: Final = frozenset(Status.StatusCode.values())


def _kind(span: Span) -> str:
    if span.kind not in _KINDS or not span.kind:
        return ""
    return Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()


def _code(span: Span) -> str:
    """A word that is unknown here is its number."""
    code = span.status.code
    return Status.StatusCode.Name(code) if code in _CODES else str(code)


def _filled(**fields: Any) -> Json:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value}
