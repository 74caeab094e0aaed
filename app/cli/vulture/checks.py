"""What vulture asks about a known trace, and whether an answer is right. No network here: a check makes a request and
judges the JSON of its answer.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import quote

from app.cli.vulture.known_trace import TOKEN, KnownSpan, KnownTrace
from app.cli.vulture.trace_content import compare_traces, plain_value
from tables.units import NS_PER_MS

Json = Mapping[str, Any]
# Around the trace's time. Narrow enough that old traces cost a query little, wide enough for any rounding of times.
_RANGE_S: Final = 600
_SPANS_MAX: Final = 100  # more than a known trace has
_STEP: Final = "10s"
_SHOWN_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """error: as the metric's label names it; expected, found: for the log"""

    error: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Check:
    """A GET of a path with parameters, and what its JSON must be. kind: for metrics; query: for the log"""

    kind: str
    path: str
    params: Mapping[str, Any]
    query: str
    judge: Callable[[Json], CheckFailure | None]


def read_checks(trace: KnownTrace, _: Random) -> list[Check]:
    """The whole trace by its id: all spans, with all that was sent of them."""

    def judge(answer: Json) -> CheckFailure | None:
        if not answer.get("trace", {}).get("resourceSpans"):
            return CheckFailure("notfound_byid", f"{len(trace.spans)} spans", "no trace")
        return _of(compare_traces(trace.whole(), answer["trace"]))

    path = f"/api/v2/traces/{trace.hex_id}"
    return [Check("by_id", path, _times(trace), "", judge)]


def search_checks(trace: KnownTrace, rng: Random) -> list[Check]:
    """The trace by an attribute, by older tags, by its structure; names and values of its attributes."""
    return [
        _attribute_search(trace, rng),
        _old_search(trace),
        *_structure_search(trace, rng),
        _tag_names(trace),
        _tag_values(trace, rng),
    ]


def metrics_checks(trace: KnownTrace, _: Random) -> list[Check]:
    """The exact number of its spans, by service."""
    query = f"{{ {_token(trace)} }} | count_over_time() by (resource.service.name)"
    expected = Counter(trace.service_name(known) for known in trace.spans)

    def judge(answer: Json) -> CheckFailure | None:
        found: Counter[str] = Counter()
        for series in answer.get("series", []):
            service = next((plain_value(one.get("value", {})) for one in series.get("labels", [])), "")
            found[str(service)] += round(sum(float(one.get("value", 0)) for one in series.get("samples", [])))
        if found == expected:
            return None
        error = "inaccurate_metrics" if found.total() else "notfound_metrics"
        return CheckFailure(error, _shown(sorted(expected.items())), _shown(sorted(found.items())))

    params = {"q": query, **_times(trace), "step": _STEP, "exemplars": 0}
    return [Check("metrics", "/api/metrics/query_range", params, query, judge)]


def _attribute_search(trace: KnownTrace, rng: Random) -> Check:
    one = rng.choice(trace.spans)
    word = _value(one, "vulture.word")
    number = _value(one, "vulture.number")
    resource = {pair.key: plain_value(pair.value) for pair in trace.resources[one.service].attributes}
    conditions: list[tuple[str, Callable[[KnownSpan], bool]]] = [
        (_token(trace), lambda _: True),
        (f'span.vulture.word = "{word}"', lambda known: known is one),
        (f'resource.vulture.resource = "{resource["vulture.resource"]}"', lambda known: known.service == one.service),
        (
            f"{_token(trace)} && span.vulture.number >= {number}",
            lambda known: _value(known, "vulture.number") >= number,
        ),
        (
            f"{_token(trace)} && status = error",
            lambda known: known.span.status.code == known.span.status.STATUS_CODE_ERROR,
        ),
    ]
    condition, matches = rng.choice(conditions)
    return _search(trace, "attribute", f"{{ {condition} }}", filter(matches, trace.spans), "notfound_traceql")


def _structure_search(trace: KnownTrace, rng: Random) -> list[Check]:
    """Spans below others, by their names: what a query of this tree must give follows from the known tree."""
    by_id = {known.span.span_id: known for known in trace.spans}
    child = rng.choice(trace.spans[1:])
    parent = by_id[child.span.parent_span_id]

    def lines(known: KnownSpan) -> Iterable[KnownSpan]:
        while known.span.parent_span_id:
            known = by_id[known.span.parent_span_id]
            yield known

    def is_below(known: KnownSpan, levels: int | None) -> bool:
        above = [one.span.name for one in lines(known)][:levels]
        return known.span.name == child.span.name and parent.span.name in above

    checks = []
    for operator, levels in ((">", 1), (">>", None)):
        query = f"{_named(trace, parent)} {operator} {_named(trace, child)}"
        matched = [known for known in trace.spans if is_below(known, levels)]
        checks.append(_search(trace, "structure", query, matched, "notfound_structure"))
    return [rng.choice(checks)]


def _search(trace: KnownTrace, kind: str, query: str, matched: Iterable[KnownSpan], not_found: str) -> Check:
    expected = {known.span.span_id.hex() for known in matched}

    def judge(answer: Json) -> CheckFailure | None:
        traces = answer.get("traces", [])
        own = [one for one in traces if _is(trace, one)]
        if expected and not own:
            return CheckFailure(not_found, trace.hex_id, _shown([one.get("traceID") for one in traces]))
        if len(traces) != bool(expected):
            ids = [one.get("traceID") for one in traces]
            return CheckFailure(
                "incorrect_search_result", f"{trace.hex_id if expected else 'no trace'} alone", _shown(ids)
            )
        sets = own[0].get("spanSets", []) if own else []
        found = {span.get("spanID") for one in sets for span in one.get("spans", [])}
        matched_count = sum(one.get("matched", 0) for one in sets)
        if found != expected or matched_count != len(expected):
            found_text = f"{matched_count} matched, spans {_shown(sorted(found))}"
            return CheckFailure(
                "incorrect_search_result", f"{len(expected)} spans {_shown(sorted(expected))}", found_text
            )
        return _head(trace, own[0]) if own else None

    params = {"q": query, **_times(trace), "limit": 20, "spss": _SPANS_MAX}
    return Check(kind, "/api/search", params, query, judge)


def _head(trace: KnownTrace, found: Json) -> CheckFailure | None:
    """What an answer to a search says of the whole trace."""
    root = trace.spans[0]
    start_ns = min(known.span.start_time_unix_nano for known in trace.spans)
    end_ns = max(known.span.end_time_unix_nano for known in trace.spans)
    expected = {
        "rootServiceName": trace.service_name(root),
        "rootTraceName": root.span.name,
        "startTimeUnixNano": str(start_ns),
        "durationMs": (end_ns - start_ns) // NS_PER_MS,
    }
    got = {name: found.get(name) for name in expected}
    return None if got == expected else CheckFailure("incorrect_search_result", _shown(expected), _shown(got))


def _old_search(trace: KnownTrace) -> Check:
    tags = f'{TOKEN}="{trace.token}"'

    def judge(answer: Json) -> CheckFailure | None:
        traces = answer.get("traces", [])
        if any(_is(trace, one) for one in traces):
            return None
        return CheckFailure("notfound_search", trace.hex_id, _shown([one.get("traceID") for one in traces]))

    return Check("tags", "/api/search", {"tags": tags, **_times(trace), "limit": 20}, tags, judge)


def _tag_names(trace: KnownTrace) -> Check:
    query = f"{{ {_token(trace)} }}"
    expected = {pair.key for known in trace.spans for pair in known.span.attributes}

    def judge(answer: Json) -> CheckFailure | None:
        found = {tag for scope in answer.get("scopes", []) if scope.get("name") == "span" for tag in scope["tags"]}
        return _same_sets(expected, found, "notfound_tag", "incorrect_tags")

    params = {"scope": "span", "q": query, **_times(trace)}
    return Check("tag_names", "/api/v2/search/tags", params, query, judge)


def _tag_values(trace: KnownTrace, rng: Random) -> Check:
    query, spans = f"{{ {_token(trace)} }}", trace.spans
    wanted: dict[str, Iterable[str]] = {
        "span.vulture.word": (_value(known, "vulture.word") for known in spans),
        "span.vulture.number": (str(_value(known, "vulture.number")) for known in spans),
        "resource.service.name": (trace.service_name(known) for known in spans),
        "name": (known.span.name for known in spans),
    }
    tag = rng.choice(list(wanted))
    expected = set(wanted[tag])

    def judge(answer: Json) -> CheckFailure | None:
        found = {one.get("value", "") for one in answer.get("tagValues", [])}
        return _same_sets(expected, found, "notfound_tag_value", "incorrect_tag_values")

    path = f"/api/v2/search/tag/{quote(tag)}/values"
    return Check("tag_values", path, {"q": query, **_times(trace)}, f"{tag} of {query}", judge)


def _same_sets(expected: set[str], found: set[str], not_found: str, wrong: str) -> CheckFailure | None:
    if found == expected:
        return None
    return CheckFailure(not_found if expected - found else wrong, _shown(sorted(expected)), _shown(sorted(found)))


def _of(difference: Sequence[str] | None) -> CheckFailure | None:
    return None if difference is None else CheckFailure(*(text[:_SHOWN_CHARS_MAX] for text in difference))


def _is(trace: KnownTrace, found: Json) -> bool:
    return str(found.get("traceID", "")).rjust(32, "0") == trace.hex_id


def _value(known: KnownSpan, key: str) -> Any:
    return next(plain_value(pair.value) for pair in known.span.attributes if pair.key == key)


def _token(trace: KnownTrace) -> str:
    return f'span.{TOKEN} = "{trace.token}"'


def _named(trace: KnownTrace, known: KnownSpan) -> str:
    return f'{{ {_token(trace)} && name = "{known.span.name}" }}'


def _times(trace: KnownTrace) -> dict[str, int]:
    return {"start": trace.time_s - _RANGE_S, "end": trace.time_s + _RANGE_S}


def _shown(value: Any) -> str:
    return str(value)[:_SHOWN_CHARS_MAX]
