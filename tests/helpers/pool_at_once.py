"""A pool without threads."""

from concurrent.futures import Executor, Future
from typing import Any


class AtOnce(Executor):
    """Does all work when it gets it. calls: how many it got"""

    calls = 0

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs the call before it returns, and gives a future that is done."""
        self.calls += 1
        future: Future[Any] = Future()
        future.set_result(call(*args, **kwargs))
        return future
