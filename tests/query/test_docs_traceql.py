"""docs/traceql.md: its examples run, and no word of the language is missing."""

import re

import pytest

from query.errors import TraceQLError
from query.language import ast
from query.language.check import HINTS, check
from query.language.compile import compile_query
from query.language.functions import FUNCTIONS
from query.language.parse import parse
from query.language.pipelines import COMPARISONS, MATH, SPANSET_OPS
from query.language.words import ALIASES, ATTRIBUTE_SCOPES, CONSTANTS, INTRINSICS
from query.metrics.metrics import compile_metrics, metrics_range
from query.requests import RangeRequest, SearchRequest
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.query.documented import DOC, examples
from tests.query.golden import START_NS, S, load_table

SPANS = """load
  t1 a    name=a kind=server duration=2s resource.service.name=web span.x=3 span.cached=true span.tags=["x","y"]
  t1 b<a  name=b kind=client duration=20ms status=error resource.service.name=db span.rows=4 event=exception@5ms
  t2 a    name=GET duration=3ms resource.service.name=web span.http.route="/cart" span.ratio=1.0 link=t1/b
"""


@pytest.mark.parametrize("query", examples("traceql"))
def test_examples_run(query: str) -> None:
    """Each compiles as what it is, and runs on spans without an error."""
    source = TableSource(load_table(SPANS))
    compile_query(query)
    search([source], SearchRequest(query=query))
    if isinstance(check(parse(query)).root, ast.Metrics):
        compile_metrics(query)
        metrics_range([source], RangeRequest(query=query, start_ns=START_NS, end_ns=START_NS + 20 * S, step_ns=10 * S))


@pytest.mark.parametrize("query", examples("traceql-refused"))
def test_refused_examples_are_refused(query: str) -> None:
    """With an error of the query's, not another one."""
    with pytest.raises(TraceQLError):
        compile_query(query)


WORDS = {
    "intrinsic": [*INTRINSICS, *ALIASES],
    "scope": [f"{scope}." for scope in ATTRIBUTE_SCOPES],
    "constant": list(CONSTANTS),
    "operator between spansets": sorted(SPANSET_OPS),
    "operator in braces": sorted(COMPARISONS | MATH | {"=~", "!~", "%", "^", "&&", "||"}),
    "function": list(FUNCTIONS),
    "hint": list(HINTS),
    "unit": ["ns", "us", "µs", "ms", "s", "m", "h", "d"],
}


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in WORDS.items() for word in words])
def test_every_word_is_explained_and_shown(kind: str, word: str) -> None:
    """In the text as code, and in an example (what is always refused: in a refused one)."""
    prose = re.sub(r"^```.*?^```$", "", DOC, flags=re.DOTALL | re.MULTILINE)
    spans = [code.replace(r"\|", "|") for code in re.findall(r"`` ?(.+?) ?``|`([^`\n]+)`", prose) for code in code]
    shown = "\n".join(examples("traceql") + examples("traceql-refused"))
    if kind == "unit":
        assert re.search(rf"\d{word}\b", shown), f"{word} is in no example"
        return
    pattern = re.escape(word)
    if word[0].isalpha():
        pattern = rf"(?<![\w:.]){pattern}" + (r"(?![\w:])" if word[-1].isalnum() else "")
    else:
        pattern = rf"(?<![!&|<>=~]){pattern}(?![!&|<>=~])"
    assert any(re.search(pattern, code) for code in spans), f"docs/traceql.md does not explain {word}"
    assert re.search(pattern, shown), f"docs/traceql.md has no example with {word}"
