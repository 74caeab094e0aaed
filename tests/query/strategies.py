"""Spans and queries for Hypothesis."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from query.scan.stitch import whole
from tables.columns.in_memory import TableSource
from tables.schema import attribute_column
from tests.helpers.querying.otlp_rows import make_table

ATTRIBUTES = ["span.a", "span.b", "resource.a", ".a", ".b", "event.a", "event.b", "link.a", ".service.name"]
WORDS = {bool: "bool", int: "int", float: "double", str: "string"}
STRINGS = ["x", "y", "xy", "", "ä"]
INTS = [-3, 0, 1, 2, 7]
FLOATS = [-1.5, 0.0, 1.0, 2.5]
EQUALITY = ["=", "!="]
ORDER = ["=", "!=", "<", "<=", ">", ">="]
VALUES = st.one_of(
    st.sampled_from(STRINGS),
    st.sampled_from(INTS),
    st.sampled_from(FLOATS),
    st.booleans(),
    st.lists(st.sampled_from(STRINGS), min_size=1, max_size=3),
    st.lists(st.sampled_from(INTS), min_size=1, max_size=3),
)
ENTRY = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.sampled_from(STRINGS) | st.sampled_from(INTS) | st.sampled_from(FLOATS) | st.booleans(),
    max_size=2,
).map(lambda pairs: [{"key": key, f"{WORDS[type(value)]}_value": value} for key, value in pairs.items()])


def _column(scope: str, key: str, value: Any) -> str:
    word = f"{WORDS[type(value[0])]}[]" if isinstance(value, list) else WORDS[type(value)]
    return attribute_column(scope, key, word)


@st.composite
def spans(draw: st.DrawFn) -> pa.Table:
    """Traces of a few spans each, parents (some of them missing), attributes of every type."""
    rows: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 14))):
        row: dict[str, Any] = {
            "trace_id": bytes([draw(st.integers(0, 3))]) * 16,
            "span_id": number.to_bytes(7, "big") + b"\x01",
            "parent_span_id": draw(
                st.sampled_from([bytes(8), bytes(7) + b"\x01", bytes(6) + b"\x01\x01", b"missing!"])
            ),
            "name": draw(st.sampled_from(["GET", "POST", ""])),
            "kind": draw(st.integers(0, 5)),
            "status_code": draw(st.integers(0, 2)),
            "status_message": draw(st.sampled_from(["", "bad"])),
            "start_ns": draw(st.integers(-1, 50)),
            "duration_ns": draw(st.integers(-2, 20) | st.just(-(2**63))),
        }
        keys = (("span", "a"), ("span", "b"), ("resource", "a"), ("span", "service.name"), ("resource", "service.name"))
        for scope, key in keys:
            value = draw(st.none() | VALUES)
            if value is not None:
                row[_column(scope, key, value)] = value
        if events := draw(
            st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["GET", "x", ""]), ENTRY), max_size=3)
        ):
            row["events"] = [{"time_ns": at, "name": name, "attributes": pairs} for at, name, pairs in events]
        if links := draw(st.lists(st.tuples(st.integers(0, 3), ENTRY), max_size=2)):
            row["links"] = [
                {"trace_id": bytes([n]) * 16, "span_id": bytes([n]) * 8, "attributes": pairs} for n, pairs in links
            ]
        rows.append(row)
    return make_table(rows)


def _quoted(text: str) -> str:
    return f'"{text}"'


NUMBERS = st.one_of(
    st.sampled_from(INTS).map(str),
    st.sampled_from(FLOATS).map(str),
    st.sampled_from(["3ns", "10ns"]),
)
NUMERIC_FIELDS = st.sampled_from(
    [*ATTRIBUTES, "duration", "span:duration", "traceDuration", "nestedSetParent", "event:timeSinceStart"]
)
ARITHMETIC = st.recursive(
    NUMBERS | NUMERIC_FIELDS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"({text} ^ 2)"),
    ),
    max_leaves=4,
)
NEVER_NIL = ["resource.service.name", "rootName", "rootServiceName", "event:name"]
STRING_FIELDS = st.sampled_from([*ATTRIBUTES, *NEVER_NIL, "name", "span:name", "statusMessage"])
COMPARISONS = st.one_of(
    # The simple forms more often than chance would have them: they are what people write.
    st.tuples(NUMERIC_FIELDS, st.sampled_from(ORDER), NUMBERS),
    st.tuples(NUMBERS, st.sampled_from(ORDER), NUMERIC_FIELDS),
    st.tuples(st.sampled_from(ATTRIBUTES), st.sampled_from("/%"), NUMBERS, st.sampled_from(ORDER), NUMBERS),
    st.tuples(st.sampled_from(["traceDuration", "nestedSetParent"]), st.sampled_from(ORDER), NUMBERS),
    st.tuples(ARITHMETIC, st.sampled_from(ORDER), ARITHMETIC),
    st.tuples(STRING_FIELDS, st.sampled_from(ORDER), st.sampled_from(["GET", *STRINGS]).map(_quoted)),
    st.tuples(st.sampled_from(STRINGS).map(_quoted), st.sampled_from(ORDER), STRING_FIELDS),
    st.tuples(
        STRING_FIELDS, st.sampled_from(["=~", "!~"]), st.sampled_from(["x.*", ".*y", "", "GET|bad"]).map(_quoted)
    ),
    st.tuples(STRING_FIELDS, st.sampled_from(ORDER), STRING_FIELDS),
    st.tuples(st.sampled_from(ATTRIBUTES), st.sampled_from(EQUALITY), st.sampled_from(["true", "false", "nil"])),
    st.tuples(st.just("status"), st.sampled_from(EQUALITY), st.sampled_from(["ok", "error", "unset"])),
    st.tuples(st.just("kind"), st.sampled_from(EQUALITY), st.sampled_from(["server", "client", "internal"])),
).map(" ".join)


# Several conditions on events: as often as on everything else.
ON_ENTRIES = st.one_of(
    st.tuples(
        st.sampled_from(["event.a", "event.b", "event:timeSinceStart", "link.a", "link.b"])
        # The first operand may be the span's own.
        | st.sampled_from(["span.a + event.b", "nestedSetParent - event.a", "duration - event:timeSinceStart"]),
        st.sampled_from(ORDER),
        NUMBERS | st.sampled_from(["event.a", "event.b", "link.a + 1", "span.a"]),
    ).map(" ".join),
    st.tuples(
        st.sampled_from(["event.a", "event.b", "link.a"]),
        st.sampled_from(EQUALITY),
        st.sampled_from(["nil", "true", '"x"', '""']),
    ).map(" ".join),
    st.tuples(st.just("event:name"), st.sampled_from(EQUALITY), st.sampled_from(['"GET"', '""'])).map(" ".join),
    st.sampled_from(["event.a", "!event.a", "span.b = 1"]),
)
FILTERS = st.recursive(
    COMPARISONS | ON_ENTRIES | st.sampled_from([*ATTRIBUTES, "true", "false"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=5,
).map(lambda text: f"{{ {text} }}")
SET_OPERATORS = ["&&", "||", *(mark + op for mark in ("", "!", "&") for op in (">", ">>", "<", "<<", "~"))]
AGGREGATES = st.just("count()") | st.tuples(
    st.sampled_from(["min", "max", "avg", "sum"]),
    st.sampled_from(["duration", "span.a", "span.b", ".a", "event.a", "traceDuration", "span.b * 2"]),
).map(lambda parts: f"{parts[0]}({parts[1]})")
BY = st.sampled_from([*ATTRIBUTES, "name", "kind", "status", "duration", "span.a + 1", "duration > 5", "event:name"])
STAGES = st.one_of(
    FILTERS,
    BY.map(lambda by: f"by({by})"),
    st.tuples(AGGREGATES, st.sampled_from(ORDER), st.sampled_from(["1", "2", "-1.5", "3ns"])).map(" ".join),
    st.tuples(AGGREGATES, st.sampled_from("+-*/%"), AGGREGATES, st.sampled_from(ORDER), st.just("2")).map(" ".join),
    st.just("coalesce()"),
    st.just("select(span.a, name, event.b, link:spanID)"),
)
SPANSETS = st.recursive(
    FILTERS | st.sampled_from(['{ name = "GET" }', "{ kind = client }", "{ }"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(SET_OPERATORS), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, STAGES, st.sampled_from(SET_OPERATORS), inner, STAGES).map(
            lambda parts: f"(({parts[0]} | {parts[1]}) {parts[2]} ({parts[3]} | {parts[4]}))"
        ),
    ),
    max_leaves=3,
)
QUERIES = st.tuples(SPANSETS, st.lists(STAGES | SPANSETS, max_size=3)).map(
    lambda parts: " | ".join([parts[0], *parts[1]])
)


def split(table: pa.Table, data: st.DataObject) -> list[pa.Table]:
    """The same spans in up to three sources, each of which knows only its own."""
    parts = np.array(data.draw(st.lists(st.integers(0, 2), min_size=table.num_rows, max_size=table.num_rows)))
    return [whole(table.filter(pa.array(parts == part))) for part in range(3) if (parts == part).any()]


class KeepingSource(TableSource):
    """Keeps what is made of it, as files do."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(table)
        self._made: dict[str, Any] = {}

    def content_key(self) -> str:
        return str(id(self))

    def kept(self, name: str) -> Any:
        return self._made.get(name)

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
            assert self._made[name].nbytes >= 0
        return self._made[name]

    def read_once(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Any:
        return self.read(columns, rows)


STEP_NS = 10
START, END = 10, 50
FUNCTIONS = st.sampled_from(["rate()", "count_over_time()"]) | st.tuples(
    st.sampled_from(["min", "max", "avg", "sum", "histogram"]),
    st.sampled_from(["duration", "span.a", "span.b * 2", "event.a", "event:timeSinceStart"]),
).map(lambda parts: f"{parts[0]}_over_time({parts[1]})")
QUANTILES = st.sampled_from(["duration", ".a"]).map(lambda of: f"quantile_over_time({of}, 0, .5, 0.9, 1)")
LEAVES = st.tuples(
    SPANSETS | st.just("{ }"),
    st.lists(STAGES, max_size=1),
    FUNCTIONS | QUANTILES,
    st.lists(BY, max_size=2, unique=True).map(lambda by: f" by ({', '.join(by)})" if by else ""),
).map(lambda parts: " | ".join([parts[0], *parts[1], parts[2] + parts[3]]))
SERIES = st.recursive(
    LEAVES.map(lambda text: f"({text})"),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from("+-*/"), st.sampled_from(["2", "-1.5", "0"])).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(st.just("3"), st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from([">", "<=", "!="]), st.sampled_from(["1", "0", "5ns"])).map(
            lambda parts: f"({' '.join(parts)})"
        ),
    ),
    max_leaves=3,
)
