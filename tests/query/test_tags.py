"""Names and values of tags: as Tempo recorded them, as a plain loop over the spans finds them, and the texts."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.engine.distinct import Distinct, TagValue, first_values, value_text
from query.errors import QueryCancelled, TraceQLError
from query.language import ast
from query.language.compile import compile_query
from query.language.text import expression
from query.requests import SearchRequest, TagNamesRequest, TagValuesRequest
from query.scan.source import KeyListing
from query.scan.stitch import whole
from query.search.search import search
from query.tags.tag_cache import TagCache
from query.tags.tag_text import parse_old_tag, parse_tag, usable_filter
from query.tags.tags import tag_names, tag_values
from tables.columns.in_memory import TableSource
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.schema import parse_attribute_column
from tables.storage.byte_cache import ByteCache
from tests.helpers.files import file_of
from tests.helpers.querying.otlp_rows import make_table, read_messages, span_table
from tests.helpers.tempo.reference import SPANS, cases
from tests.query.golden import _sources, load_rows

NS = 10**9


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return span_table(read_messages(SPANS))


@pytest.fixture(scope="module", params=[1, 4], ids=["one source", "every trace in four sources"])
def sources(table: pa.Table, request: pytest.FixtureRequest) -> list[TableSource]:
    number = np.random.default_rng(1).integers(0, request.param, table.num_rows)
    return [TableSource(whole(table.filter(pa.array(number == part)))) for part in range(request.param)]


def answered(sources: list[TableSource], case: dict[str, Any]) -> Any:
    """Our answer to a recorded request, its lists in order; None: it was refused."""
    asked, path = case["params"], case["path"]
    common = {"start_ns": asked["start"] * NS, "end_ns": asked["end"] * NS, "query": asked.get("q", "")}
    if path.endswith("/tags"):
        scope = None if (said := asked.get("scope", "none")) == "none" else said
        scopes = tag_names(sources, TagNamesRequest(scope=scope, **common)).scopes
        if "/v2/" in path:
            return [{"name": name, "tags": list(tags)} for name, tags in scopes.items()]
        return sorted({tag for name, tags in scopes.items() if name != "intrinsic" for tag in tags})
    tag = path.partition("/tag/")[2].removesuffix("/values")
    values = tag_values(
        sources, TagValuesRequest(fields=(parse_tag(tag),) if "/v2/" in path else parse_old_tag(tag), **common)
    ).values
    if "/v2/" in path:
        return sorted(({"type": type_, "value": text} for type_, text in values), key=json.dumps)
    return sorted({text for _, text in values})


def recorded(body: dict[str, Any]) -> Any:
    (items,) = (body[key] for key in ("scopes", "tagNames", "tagValues") if key in body)
    return sorted(items, key=json.dumps) if "tagValues" in body else items


@pytest.mark.parametrize("group", ["tags_v1", "tags_v2", "values_v1", "values_v2", "values_v2_q"])
def test_recorded(sources: list[TableSource], group: str) -> None:
    """Every recorded answer but the refusals, which are the API's, is ours, too."""
    asked = [case for case in cases(group) if case["status"] == 200]
    assert asked
    assert [case["n"] for case in asked if answered(sources, case) != recorded(case["body"])] == []


def attributes(spans: pa.Table) -> dict[str, set[str]]:
    """The names that at least one span has, by scope."""
    names: dict[str, set[str]] = {"span": set(), "resource": set()}
    for name in spans.column_names:
        attribute = parse_attribute_column(name)
        if attribute is not None and spans[name].null_count < spans.num_rows:
            names[attribute.scope].add(attribute.key)
    return names


@pytest.mark.parametrize(
    ("query", "kinds"), [("{ kind = server }", [2]), ("{ duration < 0s }", []), ("{ duration >= 0s }", [*range(6)])]
)
def test_names_by_filter(sources: list[TableSource], table: pa.Table, query: str, kinds: list[int]) -> None:
    """Also where no span of a source matches, or each does."""
    want = attributes(table.filter(pa.compute.is_in(table["kind"], pa.array(kinds, table["kind"].type))))
    found = tag_names(sources, TagNamesRequest(query=query)).scopes
    assert {scope: set(found.get(scope, ())) for scope in want} == want


def test_names_of_matching_spans(sources: list[TableSource], table: pa.Table) -> None:
    """With a filter exactly the attributes that its spans have.

    Tempo's recorded answer also has attributes that none of these spans has: those with a column of their own there.
    """
    query = '{ resource.service.name = "payment" }'
    want = attributes(table.filter(pa.compute.equal(table["resource.service.name"], "payment")))
    found = tag_names(sources, TagNamesRequest(query=query)).scopes
    assert {scope: set(found[scope]) for scope in want} == want
    assert found["event"] == ("exception.message", "exception.stacktrace", "exception.type")
    assert "link" not in found
    (case,) = cases("tags_v2_q")
    reply = {scope["name"]: set(scope["tags"]) for scope in case["body"]["scopes"]}
    assert reply["resource"] == want["resource"]
    assert reply["span"] > want["span"]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("{ status = error }", id="filter"),
        pytest.param('{ name = "orders publish" } >> { kind = consumer }', id="structure: whole traces"),
        pytest.param("{ kind = server } | count() > 10", id="aggregate"),
        pytest.param("{ traceDuration > 200ms } | rate()", id="metrics: its spans"),
        pytest.param("{ span.nosuch = 1 }", id="nothing"),
        pytest.param("{ }", id="everything"),
    ],
)
def test_values_of_matching_spans(sources: list[TableSource], query: str) -> None:
    """The values are those of the spans that a search with the same query shows."""
    shown = search(sources, SearchRequest(query=query, limit=10_000, spans_per_span_set=10_000)).traces
    ids = {span.span_id for trace in shown for spans in trace.span_sets for span in spans.spans}
    names = set()
    for source in sources:
        columns = source.read(["span_id", "name"])
        spans = zip(columns["span_id"].to_pylist(), columns["name"].to_pylist(), strict=True)
        names |= {name for span_id, name in spans if span_id in ids}
    assert {
        value.text for value in tag_values(sources, TagValuesRequest(fields=(parse_tag("name"),), query=query)).values
    } == names


@pytest.mark.parametrize("query", ["", "{ kind = server }", '{ name = "x" } >> { }'])
def test_child_counts(sources: list[TableSource], table: pa.Table, query: str) -> None:
    """Of whole traces, wherever their spans lie: how many spans name each as their parent."""
    children = Counter(zip(table["trace_id"].to_pylist(), table["parent_span_id"].to_pylist(), strict=True))
    kinds = zip(*(table[name].to_pylist() for name in ("trace_id", "span_id", "kind")), strict=True)
    every = [(children[trace, span], kind) for trace, span, kind in kinds]
    want = {"": {n for n, _ in every}, "{ kind = server }": {n for n, kind in every if kind == 2}}.get(query, set())
    found = tag_values(sources, TagValuesRequest(fields=(parse_tag("span:childCount"),), query=query)).values
    assert sorted(found) == sorted(TagValue("int", str(n)) for n in want)


def test_arrays_and_events(sources: list[TableSource]) -> None:
    """Of arrays each element is a value; events and links are looked into."""
    accepted = tag_values(sources, TagValuesRequest(fields=(parse_tag("span.http.request.header.accept"),))).values
    assert accepted
    assert all(value.type == "string" and "[" not in value.text for value in accepted)
    assert (
        TagValue("string", "exception")
        in tag_values(sources, TagValuesRequest(fields=(parse_tag("event:name"),))).values
    )
    errors = tag_values(
        sources, TagValuesRequest(fields=(parse_tag("event.exception.type"),), query="{ status = error }")
    ).values
    assert TagValue("string", "RpcError") in errors
    assert (
        tag_values(
            sources,
            TagValuesRequest(fields=(parse_tag("event.exception.type"),), query="{ kind = consumer && status = ok }"),
        ).values
        == ()
    )
    assert {
        v.text
        for v in tag_values(sources, TagValuesRequest(fields=(parse_tag("status"),), query="{ status = error }")).values
    } == {"error"}
    assert {v.text for v in tag_values(sources, TagValuesRequest(fields=(parse_tag("status"),))).values} == {
        "error",
        "ok",
        "unset",
    }


def test_limits(sources: list[TableSource]) -> None:
    """`limit` gives the first names and values; `bytes_max` ends the values."""
    everything = tag_values(sources, TagValuesRequest(fields=(parse_tag("name"),))).values
    assert tag_values(sources, TagValuesRequest(fields=(parse_tag("name"),), limit=3)).values == everything[:3]
    few = tag_values(sources, TagValuesRequest(fields=(parse_tag("name"),)), bytes_max=40).values
    assert 0 < sum(len(value.text) for value in few) <= 40
    names = tag_names(sources, TagNamesRequest(limit=2)).scopes
    assert {len(tags) for scope, tags in names.items() if scope != "link"} == {2}
    assert names["resource"] == ("cloud.region", "deployment.environment")


def test_time_range(sources: list[TableSource]) -> None:
    """Sources outside the range do not count; those that it touches count as a whole."""
    start_s = 1795259580
    assert tag_names(sources, TagNamesRequest(end_ns=(start_s - 10) * NS)).scopes.keys() == {"intrinsic"}
    assert (
        tag_values(sources, TagValuesRequest(fields=(parse_tag("name"),), start_ns=(start_s + 3600) * NS)).values == ()
    )
    assert "span" in tag_names(sources, TagNamesRequest(start_ns=(start_s + 5) * NS, end_ns=(start_s + 6) * NS)).scopes


def test_known_keys(sources: list[TableSource]) -> None:
    """What was found out once is not read again."""
    cache = TagCache()
    first, second = (tag_names(sources, TagNamesRequest(), cache=cache) for _ in range(2))
    assert first.scopes == second.scopes
    assert (first.inspected.bytes > 0, second.inspected.bytes) == (True, 0)
    for tag in ("name", "span.nosuch", "event.exception.type", "event.nosuch", "link.messaging.link"):
        once, again = (tag_values(sources, TagValuesRequest(fields=(parse_tag(tag),)), cache=cache) for _ in range(2))
        assert once.values == again.values == tag_values(sources, TagValuesRequest(fields=(parse_tag(tag),))).values
        assert again.inspected.bytes == 0


def test_keys_of_a_file(table: pa.Table) -> None:
    """Of a Parquet file only the keys of events and links are read, not their values, and the names are the same."""
    rows = whole(table)
    data = to_parquet(rows)
    file = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 24), rows.num_rows)
    assert isinstance(file, KeyListing)
    reply = tag_names([file], TagNamesRequest(), cache=TagCache())
    assert reply.scopes == tag_names([TableSource(rows)], TagNamesRequest()).scopes
    assert {"event", "link"} <= reply.scopes.keys()
    assert 0 < reply.inspected.bytes < rows["events"].nbytes // 2
    assert set(file.entry_keys("links").to_pylist()) == set(reply.scopes["link"])


def test_cancelled(sources: list[TableSource]) -> None:
    """A call stops when nobody waits any more."""
    with pytest.raises(QueryCancelled):
        tag_names(sources, TagNamesRequest(), cancelled=lambda: True)
    with pytest.raises(QueryCancelled):
        tag_values(
            sources, TagValuesRequest(fields=(parse_tag("name"),), query="{ status = error }"), cancelled=lambda: True
        )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        pytest.param("span.http.route", ast.Attribute("span", "http.route"), id="span"),
        pytest.param(".http.route", ast.Attribute(None, "http.route"), id="unscoped"),
        pytest.param('span."a b".c', ast.Attribute("span", "a b.c"), id="quoted"),
        pytest.param("resource.a b", ast.Attribute("resource", "a b"), id="not quoted"),
        pytest.param("resource.a/b", ast.Attribute("resource", "a/b"), id="slash"),
        pytest.param(".x } | {", ast.Attribute(None, "x } | {"), id="nothing but a key"),
        pytest.param("span." + "(" * 5000, ast.Attribute("span", "(" * 5000), id="long"),
        pytest.param("span:kind", ast.Intrinsic("kind"), id="second spelling"),
        pytest.param("link:traceID", ast.Intrinsic("link:traceID"), id="intrinsic"),
    ],
)
def test_tag(text: str, field: ast.Field) -> None:
    """A tag as TraceQL writes it, and some that clients write without quotes."""
    assert parse_tag(text) == field


@pytest.mark.parametrize("text", ["", "foo", "http.route", "parent.x", "1", '"name"', "name = 1 || .b", "-.a", "span."])
def test_no_tag(text: str) -> None:
    """What is neither an intrinsic nor an attribute with a scope is refused."""
    with pytest.raises(TraceQLError, match="is no tag"):
        parse_tag(text)


def test_old_tags() -> None:
    """The older API knows no scopes: all attributes of the name, or the intrinsic."""
    assert parse_old_tag("root.service.name") == (ast.Intrinsic("rootServiceName"),)
    assert parse_old_tag("status") == (ast.Intrinsic("status"),)
    scopes = ["resource", "span", "event", "link", "instrumentation"]
    assert parse_old_tag("service.name") == tuple(ast.Attribute(scope, "service.name") for scope in scopes)


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        pytest.param(" ", "", id="none"),
        pytest.param('{ name = "a" } >> { status = error }', '{ name = "a" } >> { status = error }', id="whole"),
        pytest.param('{ resource.a = "x" && span. }', '{ resource.a = "x" }', id="half an attribute"),
        pytest.param("{ .a=1 && name= }", "{ .a=1 }", id="no constant"),
        pytest.param("{ .a=1 && duration > 1", "{ .a=1 && duration > 1 }", id="no brace"),
        pytest.param('{ .a=1 && name = "x', "{ .a=1 }", id="open quote"),
        pytest.param('{ name =~ ".*a b.*" && .x =~ }', '{ name =~ ".*a b.*" }', id="regex"),
        pytest.param('{ span."a b" = "c" && }', '{ span."a b" = "c" }', id="quoted key"),
        pytest.param("{ .a = 1 && kind = 3 && }", "{ .a = 1 }", id="type error"),
        pytest.param("{ .a = 1 || .b = }", "", id="alternatives: the missing one may be wanted"),
        pytest.param('{ .a = "||" && .b = }', '{ .a = "||" }', id="not alternatives"),
        pytest.param("{ .a = 1 && .b = " + "x" * 3000, "", id="too long"),
        pytest.param("nonsense", "", id="nonsense"),
        pytest.param("{ .a = 1 /* .b = 2 */ && .c = }", "{ .a = 1 }", id="a comment"),
        pytest.param('{ .a = "/* x */" && .c = // .b = 2', '{ .a = "/* x */" }', id="no comment, and one"),
    ],
)
def test_unfinished_filter(text: str, usable: str) -> None:
    """Of a filter in the making what is whole is applied."""
    assert usable_filter(text) == usable


@given(st.text(st.sampled_from('{}()&|=~!<>."`\\ anme1span:-') | st.characters(), max_size=200))
def test_any_filter(text: str) -> None:
    """Whatever the text, the usable part is TraceQL or nothing, and nothing is raised."""
    if usable := usable_filter(text):
        compile_query(usable)


@given(st.lists(st.lists(st.text(max_size=5))), st.integers(0, 5))
def test_distinct(batches: list[list[str]], limit: int) -> None:
    """Distinct values of many sources are a sorted set."""
    found = Distinct(10**6)
    for batch in batches:
        values = pa.array(sorted(set(batch)), pa.string())
        found.add_values("string", values, values.nbytes)
    want = sorted({value for batch in batches for value in batch}, key=lambda value: value.encode())
    assert [value.text for value in first_values(found.arrays(), limit, 10**6)] == want[: limit or None]


def test_distinct_is_bounded() -> None:
    """What does not fit is not kept."""
    found = Distinct(1000)
    for batch in range(100):
        values = pa.array(range(batch * 100, batch * 100 + 100))
        found.add_values("int", values, values.nbytes)
        if found.full:
            break
    assert found.full
    assert batch < 10
    assert sum(len(value.text) for value in first_values(found.arrays(), 0, 1000)) <= 1000


def test_values_that_are_never_nil() -> None:
    """A resource without service.name, a trace without a root and its service are "", however they are stored."""
    load = "load\n  t1 a<q name=x\n  t2 a name=y resource.service.name=7\n  t3 a name=z resource.service.name=web"
    load += '\n  t4 a name="" resource.service.name=""'  # there, and empty: the same value
    for parts in (1, 2, 4):
        some = _sources(load_rows(load), parts, "segment")
        for cache in (None, TagCache()):
            found = {
                tag: tag_values(some, TagValuesRequest(fields=(parse_tag(tag),)), cache=cache).values
                for tag in ("resource.service.name", "rootName", "rootServiceName", "statusMessage")
            }
            strings = {tag: sorted(v.text for v in values if v.type == "string") for tag, values in found.items()}
            assert strings == {
                "resource.service.name": ["", "web"],
                "rootName": ["", "y", "z"],
                "rootServiceName": ["", "web"],
                "statusMessage": [],
            }
            assert TagValue("int", "7") in found["resource.service.name"]
        of_one = tag_values(
            some, TagValuesRequest(fields=(parse_tag("resource.service.name"),), query='{ resource.service.name = "" }')
        ).values
        assert of_one == (TagValue("string", ""),)


@pytest.mark.parametrize(
    "text",
    ['span.a"b\nc', 'span."a\\"b\\nc"', 'span."a\\"b\nc"', "span.a\\nb", "span. x", 'span."', 'span."a b'],
)
def test_any_key_can_be_asked_for(text: str) -> None:
    """With a quote or a line break, quoted as in TraceQL or not; what does not parse is the key as it stands."""
    key = 'a"b\nc' if "c" in text else text.removeprefix("span.")
    row = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_ns": 1, "duration_ns": 1, f"span.{key}": "v"}
    source = TableSource(make_table([row]))
    assert tag_values([source], TagValuesRequest(fields=(parse_tag(text),))).values == (TagValue("string", "v"),)
    quoted = expression(ast.Attribute("span", key))
    assert tag_values(
        [source], TagValuesRequest(fields=(parse_tag(quoted),), query=f"{{ {quoted} != nil }}")
    ).values == (TagValue("string", "v"),)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e9, "1e+09"),
        (1e6, "1e+06"),
        (999999.0, "999999.0"),
        (1234567.5, "1.2345675e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-1.5e300, "-1.5e+300"),
        (5e-324, "5e-324"),
        (0.0, "0.0"),
        (float("inf"), "+Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_floats_as_go_writes_them(value: float, text: str) -> None:
    """The shortest text that is read as the same number."""
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(132.0, "132.0"), (0.1, "0.1"), (True, "true"), (False, "false"), (-7, "-7"), ("a b", "a b")],
)
def test_value_text(value: Any, text: str) -> None:
    """Values as Tempo writes them."""
    assert value_text(value) == text
