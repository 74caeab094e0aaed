"""A process that ends while others ask it: they ask somebody else, and clients are told to come back."""

import pytest

from app.api.errors import Stopping, Unavailable, explain
from app.querying.running.executor import QueryExecutor, QueryLimits
from app.rpc.conversation import PeerGone, checked
from app.rpc.errors import to_frame
from tests.helpers.loops import in_loop


@in_loop
async def test_asked_after_the_end() -> None:
    """Not an internal error: its threads take no more work."""
    executor = QueryExecutor(QueryLimits(threads=1, concurrent_max=2, timeout_s=5))
    assert await executor.run(lambda _: 1) == 1
    executor.close()
    with pytest.raises(Stopping):
        await executor.run(lambda _: 1)
    with pytest.raises(Stopping):
        await executor.run_in_thread(lambda: 1)


def test_told_to_another_process() -> None:
    """For it the process is gone: its query begins anew with others. Other reasons stay what they are."""
    with pytest.raises(PeerGone, match="stops"):
        checked(to_frame(Stopping(), "a call"))
    with pytest.raises(Unavailable, match="storage"):
        checked(to_frame(Unavailable("the storage is away"), "a call"))


def test_told_to_a_client() -> None:
    """503, with the time to come back after."""
    assert explain(Stopping(), "a query") == (503, "this process stops; ask again")
    assert Stopping().retry_after_s > 0
