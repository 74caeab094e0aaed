"""The queries, what the answers must be, and how long they may take: a to m, tags, and the -full rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from benchmarks.queries import truth
from benchmarks.queries.expect import Expect, Newest, Quantiles, Sums, Tags, Trace, Values
from benchmarks.queries.passes import Pass
from benchmarks.queries.truth import Matched, Truth

NS: Final = 1_000_000_000
LIMIT: Final = 20
FULL_LIMIT: Final = 10_000_000  # more traces than there are
STEP_S: Final = 10
MARGIN_S: Final = 1  # searched before the first and after the last span
TRACES: Final = 10  # asked for by id, in turn
QUANTILES: Final = (0.5, 0.9, 0.99)

SEARCHES: Final = {
    "b": f'{{ resource.service.name = "{truth.SEARCHED}" }}',
    "c": "{ span.http.response.status_code = 500 }",
    "d": f'{{ resource.service.name = "{truth.FAILING}" && status = error }}',
    "e": '{ span.shop.order.id = "%s" }',
    "f": f'{{ span.shop.customer.id =~ "{truth.CUSTOMERS}.*" }}',
    "g": f'{{ name = "{truth.ANCESTOR}" }} >> {{ resource.service.name = "{truth.BELOW}" }}',
    "h": f"{{ kind = server && duration > 1s }} | count() > {truth.SLOW_SPANS}",
    "i": '{ span.nosuch = "x" }',
}
FULL: Final = "bcdfgh"

# Milliseconds, median, of 1M spans.
TARGETS_MS: Final[Mapping[str, float]] = {
    "a": 15, "b": 10, "c": 10, "d": 15, "e": 12, "f": 40, "g": 20, "h": 40, "i": 4, "j": 30, "k": 30, "m": 15,
    "l1": 5, "l2": 3, "l3": 3,
    "b-full": 400, "c-full": 60, "d-full": 60, "f-full": 60, "g-full": 400, "h-full": 60,
}  # fmt: skip

# With ten times the spans: a search that looks at everything may take twelve times as long; one for a needle, for a
# trace or for nothing must grow far less.
SCAN_GROWTH: Final = 1.2
NEEDLE_GROWTH: Final = 0.4
NEEDLES: Final = frozenset("aei")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, GET, and its right answer."""

    target: str
    expect: Expect


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table; its calls are made in turn."""

    name: str
    what: str
    calls: tuple[Call, ...]

    @property
    def full(self) -> bool:
        """Whether the answer is large."""
        return self.name.endswith("-full")


def growth(name: str, spans: int, compared_spans: int) -> float:
    """By how much a median may exceed that of fewer spans."""
    factor = NEEDLE_GROWTH if name in NEEDLES else SCAN_GROWTH
    return max(1.0, factor * spans / compared_spans)


def cases(of: Truth, passes: Sequence[Pass]) -> list[Case]:
    """All of them, over everything that the passes sent."""
    start_s = (of.first_ns + min(one.shift_ns for one in passes)) // NS - MARGIN_S
    end_s = (of.last_ns + max(one.shift_ns for one in passes)) // NS + 1 + MARGIN_S
    window = {"start": str(start_s), "end": str(end_s)}
    # The server may take whole steps: the range has some room on both sides.
    steps = {"start": str(start_s - STEP_S), "end": str(end_s + STEP_S), "step": f"{STEP_S}s"}
    middle = passes[len(passes) // 2]

    def get(path: str, parameters: Mapping[str, str], expect: Expect) -> tuple[Call, ...]:
        return (Call(f"{path}?{urlencode(parameters)}", expect),)

    def metrics(query: str, expect: Expect) -> tuple[Call, ...]:
        return get("/api/metrics/query_range", {"q": query, **steps}, expect)

    found = [Case("a", "a trace by id", by_id(of, passes, window))]
    full = []
    for letter, text in SEARCHES.items():
        # A needle is one: each pass has orders of its own.
        among = [middle] if letter == "e" else passes
        query = text % middle.order_id(of.needle) if letter == "e" else text
        those = matches(of, letter, among)
        one = get("/api/search", {"q": query, "limit": str(LIMIT), **window}, Newest(LIMIT, *those))
        found.append(Case(letter, query, one))
        if letter in FULL:
            one = get("/api/search", {"q": query, "limit": str(FULL_LIMIT), **window}, Newest(FULL_LIMIT, *those))
            full.append(Case(f"{letter}-full", query, one))
    services = {name: count * len(passes) for name, count in of.services.items()}
    quantiles = ", ".join(map(str, QUANTILES))
    query = f'{{ resource.service.name = "{truth.FRONT}" }} | quantile_over_time(duration, {quantiles}) by (name)'
    names = frozenset(of.front_names)
    for name, what, expect in (
        ("j", "{ } | rate() by (resource.service.name)", Sums("resource.service.name", services, STEP_S)),
        ("k", query, Quantiles("name", names, len(QUANTILES))),
        ("m", "{ } | count_over_time()", Sums("", {"": of.spans * len(passes)})),
    ):
        found.append(Case(name, what, metrics(what, expect)))
    scopes = {scope: frozenset(tags) for scope, tags in of.tags.items() if tags}
    found.append(Case("l1", "names of all tags", get("/api/v2/search/tags", window, Tags(scopes))))
    for name, tag, values in (
        ("l2", "resource.service.name", frozenset(of.services)),
        ("l3", "span.http.route", frozenset(of.routes)),
    ):
        found.append(Case(name, f"{tag}: values", get(f"/api/v2/search/tag/{tag}/values", window, Values(values))))
    return found + full


def by_id(of: Truth, passes: Sequence[Pass], window: Mapping[str, str]) -> tuple[Call, ...]:
    """Traces from all over the passes and each pass."""
    ids = sorted(of.sizes)[:: max(1, len(of.sizes) // TRACES)][:TRACES]
    calls = []
    for number, trace_id in enumerate(ids):
        (there,) = passes[number * len(passes) // len(ids)].trace_ids([trace_id])
        calls.append(Call(f"/api/v2/traces/{there.hex()}?{urlencode(window)}", Trace(of.sizes[trace_id])))
    return tuple(calls)


def matches(of: Truth, letter: str, passes: Sequence[Pass]) -> tuple[dict[bytes, int], Matched]:
    """The traces that a search must find: when each starts, and how many of its spans match."""
    starts_ns: dict[bytes, int] = {}
    matched: Matched = {}
    ids = list(of.matched[letter])
    for one in passes:
        for there, trace_id in zip(one.trace_ids(ids), ids, strict=True):
            starts_ns[there] = of.starts_ns[trace_id] + one.shift_ns
            matched[there] = of.matched[letter][trace_id]
    return starts_ns, matched
