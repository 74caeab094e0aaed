"""TraceQL text → syntax tree."""

from functools import cache
from importlib.resources import files
from typing import Final

import lark
from lark.exceptions import UnexpectedCharacters, UnexpectedToken, VisitError

from query.errors import TraceQLError
from query.language.ast import Query
from query.language.build import Builder
from query.language.faults import Fault
from query.language.kept import kept
from query.language.words import without_comments

QUERY_CHARS_MAX: Final = 128 * 1024

# The grammar's terminals in the reader's words; what is not here stands for itself.
_TERMINALS: Final = {
    "$END": "the end of the query",
    "ATTRIBUTE": "an attribute (span.x, resource.x, .x)",
    "BY": "by",
    "COMPARE": "a comparison (= != < <= > >= =~ !~)",
    "DURATION": "a duration",
    "FLOAT": "a number",
    "INT": "a number",
    "LBRACE": "{",
    "LOGIC": "&& or ||",
    "LPAR": "(",
    "MINUS": "-",
    "NOT": "!",
    "PLUS": "+",
    "POWER": "^",
    "PRODUCT": "* / %",
    "COMMA": ",",
    "EQUAL": "=",
    "RBRACE": "}",
    "RPAR": ")",
    "STRING": "a string",
    "STRUCTURAL": "a structural operator (>> > << < ~)",
    "VBAR": "|",
    "WITH": "with",
    "WORD": "a name",
}


@kept
def parse(text: str) -> Query:
    """The tree of a query. An empty text is `{ }`, as Grafana sends it.

    Raises: TraceQLError where the text is not TraceQL, is longer than QUERY_CHARS_MAX or nested too deep
    """
    if len(text) > QUERY_CHARS_MAX:
        problem = f"the query has {len(text)} characters; at most {QUERY_CHARS_MAX} are allowed"
        raise TraceQLError(problem, text, 0, 1, "Shorten it, for instance with a regular expression.")
    try:
        root, hints = Builder().transform(_parser().parse(text if without_comments(text).strip() else "{ }"))
    except VisitError as err:
        if not isinstance(err.orig_exc, Fault):
            raise
        fault = err.orig_exc
        raise TraceQLError(fault.problem, text, fault.at.start, fault.at.end, fault.hint) from None
    except UnexpectedCharacters as err:
        raise _unexpected_character(text, err) from None
    except UnexpectedToken as err:
        raise _unexpected_token(text, err) from None
    return Query(root, hints, text)


@cache
def _parser() -> lark.Lark:
    """Built at the first query (30 ms) and kept: Lark's LALR parser may be used by several threads at once."""
    grammar = files("query.language").joinpath("grammar.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", propagate_positions=True)


def _unexpected_character(text: str, err: UnexpectedCharacters) -> TraceQLError:
    at, character = err.pos_in_stream, text[err.pos_in_stream]
    if character in "\"`'":
        hint = "Strings stand in double quotes or backticks, and must be closed."
    elif text[at:].startswith((".", "span.", "resource.")):
        hint = 'After the dot comes the attribute\'s name; quote names with spaces: span."a b".'
    else:
        hint = _expected(err.allowed or set())
    return TraceQLError(f"unexpected {character!r}", text, at, at + 1, hint)


def _unexpected_token(text: str, err: UnexpectedToken) -> TraceQLError:
    token, hint = err.token, _expected(err.accepts or err.expected)
    start = token.start_pos or 0
    # The lexer takes the two characters for operators: the first of them is wrong here, or the second.
    for at in (start, start - 1):
        if at >= 0 and text.startswith("/*", at) and token.type != "$END":
            return TraceQLError("the comment does not end", text, at, at + 2, "Write */ at its end.")
    if token.type == "$END":
        return TraceQLError("the query ends too early", text, len(text.rstrip()), len(text.rstrip()) + 1, hint)
    if token.type in {"COMPARE", "EQUAL"} and text[: token.start_pos].endswith("="):
        hint = "Equality is written = in TraceQL."
    return TraceQLError(f"unexpected {str(token)!r}", text, token.start_pos, token.end_pos, hint)


def _expected(terminals: set[str]) -> str:
    words = sorted({_TERMINALS.get(name, name) for name in terminals})
    return f"Expected {', '.join(words)}." if words else ""
