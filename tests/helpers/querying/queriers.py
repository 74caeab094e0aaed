"""A querier over a live store that holds a trace."""

from app.querying.querier import Querier
from app.querying.running.executor import QueryLimits
from query.requests import TraceRequest
from tests.helpers.live.live_store import TP0, World, message

LIMITS = QueryLimits(threads=1, concurrent_max=1, timeout_s=5)
TRACE = b"\1" * 16
WHOLE_TRACE = TraceRequest(trace_id=TRACE)


async def loaded(w: World, limits: QueryLimits = LIMITS) -> Querier:
    """Twelve spans in a segment, three in the head."""
    await w.manager.resume([TP0])
    await w.manager.take(message(0, spans=12))
    await w.manager.take(message(1, spans=3))
    await w.manager.drain(0)
    return Querier(w.manager, limits)
