"""TraceQL text → a plan."""

from functools import lru_cache

from query.language.check import check
from query.language.parse import KEPT_CHARS_MAX, KEPT_MAX, parse
from query.language.plan import Plan, plan


def compile_query(query: str) -> Plan:
    """Raises: TraceQLError, among it UnsupportedError; nothing has been read then."""
    return _kept(query) if len(query) <= KEPT_CHARS_MAX else _compiled(query)


def _compiled(query: str) -> Plan:
    return plan(check(parse(query)))


# A query is compiled for its errors before it waits for a thread, and once more there.
_kept = lru_cache(maxsize=KEPT_MAX)(_compiled)
