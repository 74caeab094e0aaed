"""What can go wrong with a query.

TraceQLError            the caller's text: HTTP 400
└── UnsupportedError    good TraceQL that this version does not evaluate
TraceTooLarge           a trace by its id is larger than the caller allows: HTTP 422
QueryCancelled          the caller went away
"""

from difflib import get_close_matches
from typing import Final

TRACE_BYTES_SETTING: Final = "query_frontend.trace_by_id.max_bytes_per_trace"
_LINE_CHARS_MAX = 120  # a marked line longer than this is cut around the mark


class TraceQLError(ValueError):
    """The caller's query text: what is wrong, where, what to write instead.

    problem, hint: one sentence each, hint may be empty
    line, column: of the first marked character, both from 1
    """

    def __init__(self, problem: str, query: str, start: int, end: int, hint: str = "") -> None:
        line_start = query.rfind("\n", 0, start) + 1
        self.problem = problem
        self.hint = hint
        self.line = query.count("\n", 0, start) + 1
        self.column = start - line_start + 1
        text, mark_start = query[line_start:].partition("\n")[0], start - line_start
        mark_end = max(mark_start + 1, min(end - line_start, len(text)))
        if len(text) > _LINE_CHARS_MAX:
            cut = max(0, mark_start - _LINE_CHARS_MAX // 2)
            text = text[cut : cut + _LINE_CHARS_MAX]
            mark_start, mark_end = mark_start - cut, min(mark_end - cut, _LINE_CHARS_MAX)
        mark = " " * mark_start + "^" * max(1, mark_end - mark_start)
        lines = [f"{self.line}:{self.column}: {problem}", f"  {text}", f"  {mark}"]
        super().__init__("\n".join([*lines, hint] if hint else lines))


class UnsupportedError(TraceQLError):
    """Valid TraceQL that is not evaluated: an error, never an empty answer."""


class TraceTooLarge(ValueError):  # noqa: N818 (says what it is)
    """A trace that is larger than the limit; the message names the setting, and how to read it all the same.

    size: with its unit, of the trace as OTLP
    """

    def __init__(self, trace_id: bytes, spans: int, size: str, bytes_max: int) -> None:
        super().__init__(
            f"trace {trace_id.hex()} is too large: {spans} spans, {size}; the setting {TRACE_BYTES_SETTING} allows "
            f"{bytes_max} bytes. Read it in pages: add ?cursor= to the URL, and for each next page the cursor that the "
            "one before came with; `stretto query trace` does so"
        )


class QueryCancelled(Exception):  # noqa: N818 - it is a request, not a fault
    """`cancelled()` said that nobody waits for the answer any more."""


def did_you_mean(word: str, known: list[str]) -> str:
    """A sentence with the nearest known word and a space, or ""."""
    near = get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}? " if near else ""
