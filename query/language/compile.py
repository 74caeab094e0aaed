"""TraceQL text → a plan."""

from query.language.check import check
from query.language.kept import kept
from query.language.parse import parse
from query.language.plan import Plan, plan


@kept
def compile_query(query: str) -> Plan:
    """Raises: TraceQLError, among it UnsupportedError; nothing has been read then."""
    return plan(check(parse(query)))
