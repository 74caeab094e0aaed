"""Translates bodies of other protocols to OTLP: on the event loop, or on a thread where that takes long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Final, NamedTuple

from app.receivers.input_budget import InputBytes
from tables.wall import walled
from tables.wire.usual import Unusual

# Larger bodies are translated to OTLP on a thread.
_HERE_BYTES_MAX: Final = 16 << 10
# In the form that clients usually send, these stay here, too: that takes two milliseconds, or thirty if a client means
# harm. From a thread, which holds the GIL as well, they come to the batcher one by one, and so in many small batches.
USUAL_HERE_BYTES_MAX: Final = 128 << 10
# Approximate peak memory per byte of a body while it is translated: Python objects.
_MEMORY: Final = 18

# Body → ExportTraceServiceRequest. Raises: WireError
Translate = Callable[[bytes], bytes]


class Translation(NamedTuple):
    """What translates a body. usual: the same for what clients usually send, in bounded time; raises Unusual for the
    rest
    """

    whole: Translate
    usual: Translate | None = None

    async def run(self, body: bytes, held: InputBytes, thread: Executor) -> bytes:
        """The ExportTraceServiceRequest. Raises: WireError, Overloaded"""
        held.add("translating", len(body) * _MEMORY)
        if len(body) <= _HERE_BYTES_MAX:
            return walled(self.whole, body)
        if self.usual is not None and len(body) <= USUAL_HERE_BYTES_MAX:
            with suppress(Unusual):
                return walled(self.usual, body)
        return await asyncio.get_running_loop().run_in_executor(thread, walled, self.whole, body)
