"""A trace as what is compared: its spans in the order of their tree, each with its place, what it is, what it has."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from app.api.tempo.jsonpb import Json

_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES: Final = ("unset", "ok", "error")
_EXAMPLES_MAX: Final = 3
_STEPS_MAX: Final = 2_000_000  # each span has its path: in a long chain of spans these grow with its square
# What looks like an id inside a name: equal operations then have different names.
_ID_IN_NAME: Final = re.compile(r"\b(?:[0-9]{6,}|[0-9a-f][0-9a-f-]{7,})\b", re.ASCII | re.IGNORECASE)


class TooDeep(ValueError):  # noqa: N818  (says what it is)
    """A trace whose tree takes too much memory."""


class SpanIdentity(NamedTuple):
    """What a span is: spans of two traces that are alike in it may be the same operation."""

    service: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Item:
    """One span. path: its number among its siblings, at each level from the root on. parent: None: a root

    duration_ns: None: times that make no duration
    """

    path: tuple[int, ...]
    identity: SpanIdentity
    parent: SpanIdentity | None
    start_ns: int
    duration_ns: int | None
    status: str
    attributes: dict[str, Any]

    def reference(self) -> Json:
        """Where and what it is."""
        service, name, kind = self.identity
        return {"path": list(self.path), "service": service, "name": name, "kind": kind}

    def snapshot(self) -> Json:
        """What is told of a span that the other trace lacks."""
        return {**self.reference(), "duration_nanos": self.duration_ns or 0, "status": self.status}


@dataclass(frozen=True, slots=True)
class Tree:
    """items: a span, then its children. span_count: with those whose id came before"""

    trace_id: str
    span_count: int
    items: list[Item]
    warnings: list[Json]


def tree_of(groups: Iterable[ResourceSpans], side: str) -> Tree:
    """side: `base` or `compare`, for warnings. Raises: TooDeep"""
    spans = [
        (span, _identity(span, _text(group.resource.attributes, "service.name")))
        for group in groups
        for scope in group.scope_spans
        for span in scope.spans
    ]
    spans.sort(key=lambda one: (one[0].start_time_unix_nano, one[0].span_id))
    items = _in_order(spans)
    warnings = [*_names(spans), *_durations(spans, side)]
    if not spans:
        warnings.append(_warning("zero_span_trace", f"{side} trace contains no spans; comparison has no span matches"))
    if dropped := len(spans) - len(items):
        text = f"{side} trace has {dropped} span(s) with duplicate span IDs; duplicates are ignored by the diff"
        warnings.append(_warning("duplicate_span_id", f"{text} and counts may disagree"))
    trace_id = spans[0][0].trace_id.hex() if spans else ""
    return Tree(trace_id, len(spans), items, warnings)


Named = tuple[Span, SpanIdentity]


def _in_order(spans: Sequence[Named]) -> list[Item]:
    """In: by start. Roots first, and spans whose parent is not there; then what is left: circles."""
    ids = {span.span_id for span, _ in spans}
    children: dict[bytes, list[Named]] = defaultdict(list)
    for span, identity in spans:
        children[span.parent_span_id if span.parent_span_id in ids else b""].append((span, identity))
    items: list[Item] = []
    steps = 0
    seen: set[bytes] = set()
    taken: Counter[tuple[int, ...]] = Counter()  # children that have their number, by the parent's path
    waiting: list[tuple[Named, tuple[int, ...], SpanIdentity | None]] = [(one, (), None) for one in reversed(spans)]
    waiting += [(one, (), None) for one in reversed(children[b""])]
    while waiting:
        (span, identity), above, parent = waiting.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        path = (*above, taken[above])
        taken[above] += 1
        steps += len(path)
        if steps > _STEPS_MAX:
            raise TooDeep(f"the trace is too deep to compare: the paths of its spans have more than {_STEPS_MAX} steps")
        items.append(_item(span, identity, path, parent))
        if span.span_id:
            waiting += [(one, path, identity) for one in reversed(children.get(span.span_id, ()))]
    return items


def _item(span: Span, identity: SpanIdentity, path: tuple[int, ...], parent: SpanIdentity | None) -> Item:
    attributes = {pair.key: _value(pair.value) for pair in span.attributes}
    status = _word(_STATUSES, span.status.code)
    return Item(path, identity, parent, span.start_time_unix_nano, _duration_ns(span), status, attributes)


def _identity(span: Span, service: str) -> SpanIdentity:
    return SpanIdentity(_text(span.attributes, "service.name") or service, span.name, _word(_KINDS, span.kind))


def _word(words: Sequence[str], number: int) -> str:
    return words[number] if 0 <= number < len(words) else ""


def _text(attributes: Iterable[KeyValue], key: str) -> str:
    return next((str(pair.value.string_value) for pair in attributes if pair.key == key), "")


def _duration_ns(span: Span) -> int | None:
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    return end - start if 0 < start <= end < start + 2**63 else None


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(one) for one in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
        case kind:
            return getattr(value, kind)


# ---- what to beware of


def _warning(code: str, message: str) -> Json:
    return {"code": code, "message": message}


def _names(spans: Sequence[Named]) -> list[Json]:
    for _, (service, name, kind) in spans:
        if _ID_IN_NAME.search(name):
            text = (
                f'span name "{name}" of service "{service}", kind "{kind}", seems to contain an id: spans are matched '
            )
            hint = "by name, so that equal operations may be told as added and removed. Put ids into attributes"
            return [_warning("high_cardinality_span_name", text + hint)]
    return []


def _durations(spans: Sequence[Named], side: str) -> list[Json]:
    wrong = sorted(identity for span, identity in spans if _duration_ns(span) is None)
    if not wrong:
        return []
    examples = [f'"{name}" service "{service}" kind "{kind}"' for service, name, kind in wrong[:_EXAMPLES_MAX]]
    more = [f"and {len(wrong) - _EXAMPLES_MAX} more"] if len(wrong) > _EXAMPLES_MAX else []
    text = (
        f"{side} trace has {len(wrong)} span(s) with unset or invalid duration; matched duration changes use null on "
    )
    return [_warning("invalid_duration", f"{text}the invalid side; examples: [{'; '.join(examples + more)}]")]


def is_number(value: Any) -> bool:
    """Not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(a: Any, b: Any) -> bool:
    """Whether attribute values are equal: numbers whatever their type, NaN as itself."""
    if is_number(a) and is_number(b):
        return bool(a == b) or (math.isnan(a) and math.isnan(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    return bool(a == b)
