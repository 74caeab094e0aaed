"""How often a consumer fetches from Kafka: what comes within some milliseconds comes together.

A fetch costs Kafka, the consumer's thread and the main loop a millisecond each, however little it brings. Kafka itself
can gather only by bytes: while fewer than wanted come in time its answer is late, and often empty. So here the next
fetch waits before it is sent, and then Kafka answers as soon as it has anything.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

# At most one fetch of each broker in this time. After a longer pause the first record comes at once.
APART_S: Final = 0.03
# For a fetch that leaves partitions out: those wait for its end.
_PARTIAL_WAIT_MS: Final = 30


class FetchPace:
    """Stands between aiokafka's fetcher and its requests. Belongs to the event loop of the consumer's thread."""

    def __init__(self, fetcher: Any) -> None:
        """fetcher: of a consumer that has started"""
        self._fetcher, self._fetch = fetcher, fetcher._proc_fetch_request  # noqa: SLF001
        self._sent_s: dict[Any, float] = {}  # by broker: time.monotonic() of its last fetch
        fetcher._proc_fetch_request = self.fetch  # noqa: SLF001

    def fetch(self, assignment: Any, broker: Any, request: Any) -> Coroutine[Any, Any, bool]:
        """Sends a request in time. Whether it has brought records.

        aiokafka makes a request of the partitions whose records were taken, and calls this at once.
        """
        if self._fetcher._records:  # noqa: SLF001
            request._max_wait_ms = min(request._max_wait_ms, _PARTIAL_WAIT_MS)  # noqa: SLF001
        return self._later(assignment, broker, request)

    async def _later(self, assignment: Any, broker: Any, request: Any) -> bool:
        wait_s = self._sent_s.get(broker, -APART_S) + APART_S - time.monotonic()
        if wait_s > 0:
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                return False  # as aiokafka where the partitions have gone
        self._sent_s[broker] = time.monotonic()
        return bool(await self._fetch(assignment, broker, request))
