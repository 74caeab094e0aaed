"""What the parser accepts and refuses, and that no text makes it fail in another way."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.errors import TraceQLError
from query.explain import explain, lines
from query.language import ast
from query.language.ast import Attribute, Comparison, Intrinsic, Literal, Logic, Type
from query.language.check import check
from query.language.compile import compile_query
from query.language.parse import QUERY_CHARS_MAX, parse
from query.language.words import duration_ns
from query.metrics.metrics import compile_metrics, metrics_range
from query.requests import RangeRequest, SearchRequest
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.helpers.tempo.reference import cases
from tests.query.golden import START_NS, S, load_table

param = pytest.param

_TEXT = (
    '{ } ( ) | && || ! = != =~ < >> !~ &> ~ + - * / % ^ , "x" "\\ 1 2.5 10ms nil true .a span.b '
    "resource.service.name name duration status error rate() count() by( select( with( topk(3)"
)
PIECES = _TEXT.split()


def condition(text: str) -> ast.FieldExpr:
    (stage,) = parse(f"{{ {text} }}").root.stages  # type: ignore[union-attr]
    assert isinstance(stage, ast.Filter)
    assert stage.condition is not None
    return stage.condition


def one(key: str) -> Comparison:
    return Comparison("=", Attribute(None, key), Literal(1, Type.INT))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        param('."a b" = 1', one("a b"), id="quoted"),
        param('.x."y.z".w = 1', one("x.y.z.w"), id="partly quoted"),
        param(r'."a\"\\b" = 1', one('a"\\b'), id="escapes in a name"),
        param(".a-b/c:d = 1", one("a-b/c:d"), id="operators in a name"),
        param(
            ".a = 1 || .b = 1 && .c = 1",
            Logic("&&", (Logic("||", (one("a"), one("b"))), one("c"))),
            id="&& and || bind equally",
        ),
        param(
            "trace:rootService = nil",
            Comparison("=", Intrinsic("rootServiceName"), Literal(None, Type.NIL)),
            id="alias",
        ),
        param("-1.5 = .a", Comparison("=", Literal(-1.5, Type.FLOAT), Attribute(None, "a")), id="negative"),
        param(
            "1h30m = 1.5h",
            Comparison("=", Literal(5400 * 10**9, Type.DURATION), Literal(5400 * 10**9, Type.DURATION)),
            id="durations",
        ),
        param(
            '"a\\n\\u00e4" = `\\n`',
            Comparison("=", Literal("a\nä", Type.STRING), Literal("\\n", Type.STRING)),
            id="strings",
        ),
        param(
            "minInt = maxInt", Comparison("=", Literal(-(2**63), Type.INT), Literal(2**63 - 1, Type.INT)), id="limits"
        ),
        param(
            "2 ^ 3 ^ 2 = .a",
            Comparison(
                "=",
                ast.Arithmetic(
                    "^", Literal(2, Type.INT), ast.Arithmetic("^", Literal(3, Type.INT), Literal(2, Type.INT))
                ),
                Attribute(None, "a"),
            ),
            id="power binds to the right",
        ),
    ],
)
def test_tree(text: str, tree: ast.FieldExpr) -> None:
    """The text becomes this tree."""
    assert condition(text) == tree


def test_places() -> None:
    """Every node knows where in the text it stands."""
    text = '{ span.a = "x" && duration > 10ms } >> { }'
    (stage,) = parse(text).root.stages  # type: ignore[union-attr]
    assert isinstance(stage, ast.SpansetOp)
    filter_ = stage.left
    assert isinstance(filter_, ast.Filter)
    assert isinstance(filter_.condition, Logic)
    places = [node.at for node in (stage, filter_, *filter_.condition.operands)]
    assert [text[at.start : at.end] for at in places] == [
        text,
        '{ span.a = "x" && duration > 10ms }',
        'span.a = "x"',
        "duration > 10ms",
    ]


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1ns", 1), ("1.5us", 1500), ("2µs", 2000), ("1h2m3.5s", 3723_500_000_000), ("0.5ns", 0), ("1d", 86_400 * 10**9)],
)
def test_duration(text: str, ns: int) -> None:
    """Go's durations, and days."""
    assert duration_ns(text) == ns


def test_empty_text_selects_everything() -> None:
    """Grafana sends an empty query for "all traces"."""
    assert parse("") == parse("{ }")


def test_recorded_refusals() -> None:
    """What a running Tempo answered with 400 is refused, what it answered with 200 is not."""
    for case in cases("invalid_search"):
        query = case["params"]["q"]
        if case["status"] == 200:
            check(parse(query))
            continue
        with pytest.raises(TraceQLError):
            compile_query(query)


@pytest.mark.parametrize(
    "text",
    [
        param("(" * 10_000 + "{ }" + ")" * 10_000, id="parentheses outside"),
        param("{ " + "(" * 10_000 + "true" + ")" * 10_000 + " }", id="parentheses inside"),
        param("{ " + "!" * 10_000 + "true }", id="negations"),
        param("{ " + "-" * 10_000 + ".a = 1 }", id="minus signs"),
        param("{ .a" + " + .a" * 10_000 + " = 1 }", id="sums"),
        param("{ 2" + " ^ 2" * 10_000 + " = 1 }", id="powers"),
        param("{ .a" + " && .a || .a" * 5_000 + " }", id="alternating logic"),
        param("{ }" + " >> { }" * 10_000, id="structure"),
        param("{ .a = " + "9" * 100_000 + " }", id="long number"),
        param("{ .a = 1" + " && .a = 1" * 100_000 + " }", id="a megabyte"),
        param("{ .a" + '."' + "x" * 100_000, id="open quote"),
        param('{ name =~ "' + "(a*)*" * 10_000 + '[" }', id="bad long regex"),
    ],
)
def test_hostile_text_is_refused_soon(text: str) -> None:
    """Depth and length end in an error of ours, not in Python's recursion, memory or patience."""
    started = time.thread_time()
    with pytest.raises(TraceQLError) as caught:
        check(parse(text))
    assert time.thread_time() - started < 10
    assert len(str(caught.value)) < 2000


def test_long_flat_query_is_accepted() -> None:
    """Length alone is no reason: only the limit is."""
    text = "{ .a = 1" + " || .a = 1" * 5_000 + " }"
    assert len(text) < QUERY_CHARS_MAX
    check(parse(text))


CHAINS = {
    "filters ||": lambda n: " || ".join(f"{{ .a = {i} }}" for i in range(n)),
    "filters &&": lambda n: " && ".join(["{ .a = 1 }"] * n),
    "filters >>": lambda n: " >> ".join(["{ }"] * n) + " || { }",
    "filters !>": lambda n: " !> ".join(["{ }"] * n),
    "operands ||": lambda n: "{ " + " || ".join(f".a = {i}" for i in range(n)) + " }",
    "operands &&": lambda n: "{ " + " && ".join(f".a != {i + 7}" for i in range(n)) + " }",
    "alternating": lambda n: "{ " + " ".join(f".a = 1 {('||', '&&')[i % 2]}" for i in range(n)) + " .a = 1 }",
    "events &&": lambda n: "{ " + " && ".join(["event.b = 1"] * n) + " }",
    "operands +": lambda n: "{ " + " + ".join([".a"] * n) + f" = {n} }}",
    "operands *": lambda n: "{ " + " * ".join([".a"] * n) + " = 1 }",
    "constants +": lambda n: "{ " + " + ".join(["1"] * n) + f" = {n} && .a = 1 }}",
    "aggregates +": lambda n: "{ } | " + " + ".join(["count()"] * n) + f" = {2 * n}",
    "by +": lambda n: "{ } | by(" + " + ".join([".a"] * n) + ")",
    "series +": lambda n: " + ".join(["({ } | rate())"] * n),
    "stages": lambda n: " | ".join(["{ .a = 1 }"] * n),
    "pipelines ||": lambda n: " || ".join(["({ .a = 1 } | count() > 0)"] * n),
    "series |": lambda n: "{ } | rate()" + " | topk(5) | bottomk(5)" * (n // 2),
    "series >": lambda n: "{ } | rate()" + " > 0" * n,
    "series | >": lambda n: "{ } | rate()" + " | topk(5) > 0 | bottomk(5)" * (n // 2),
}
SERIES = {"series +": 0.2, "series |": 0.0, "series >": 0.0, "series | >": 0.0}  # what each operand adds


@pytest.mark.parametrize("count", [98, 1000])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_flat_chain_is_evaluated(chain: str, count: int) -> None:
    """Its operands are no levels; a thousand are answered, explained and written as text."""
    query = CHAINS[chain](count)
    source = TableSource(load_table("load\n  t1 a span.a=1 event=e@1ms event.b=1\n  t1 b<a span.a=1"))
    (trace,) = search([source], SearchRequest(query=query)).traces
    assert trace.span_sets
    assert list(lines(explain(query)))
    if chain in SERIES:
        result = metrics_range(
            [source], RangeRequest(query=query, start_ns=START_NS, end_ns=START_NS + 10 * S, step_ns=10 * S)
        )
        assert result.series[0].samples[-1][1] == pytest.approx(count * SERIES[chain] or 0.2)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("{ " + "(" * 101 + ".a = 1" + ")" * 101 + " }", id="parentheses"),
        pytest.param("(" * 101 + "{ }" + ")" * 101, id="parentheses outside"),
        pytest.param("{ " + "!" * 101 + "span.a }", id="signs"),
        pytest.param("{ " + " ^ ".join(["2"] * 200) + " > 1 }", id="powers"),
    ],
)
def test_depth_is_limited(query: str) -> None:
    """Depth is what parentheses, signs and powers make."""
    with pytest.raises(TraceQLError, match="nested more than 100 levels"):
        parse(query)


def test_operands_are_limited() -> None:
    """More than anybody writes, in a text that is not too long."""
    with pytest.raises(TraceQLError, match="more than 10000 fields"):
        parse("{ .a = 1" + " + .a" * 10_000 + " }")


def test_the_deepest_query_is_evaluated() -> None:
    """What is not refused has room on the stack."""
    inner = ".a = 1"
    for _ in range(95):
        inner = f"(.b = 2 || {inner} && .a + (1) > 0)"
    source = TableSource(load_table("load\n  t1 a span.a=1"))
    assert len(search([source], SearchRequest(query=f"{{ {inner} }}")).traces) == 1


@settings(max_examples=examples(65), deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join))
def test_any_text_is_answered_or_refused(text: str) -> None:
    """A plan or a TraceQLError with its place in the text; nothing else."""
    for compiled in (compile_query, compile_metrics):
        try:
            compiled(text)
        except TraceQLError as err:
            refusal: TraceQLError | None = err
        else:
            refusal = None
        assert refusal is None or (refusal.line >= 1 and refusal.column >= 1 and str(refusal))


def test_metrics_query_in_a_search() -> None:
    """Answers with the spans that it would count, as Tempo does."""
    assert compile_query("({ .a = 1 } | rate() by (name)) / ({ } | rate())").root == parse("{ .a = 1 }").root
