"""The events of an agent's stream, as many in a turn of the event loop as are there."""

from collections.abc import AsyncIterator
from typing import Any, Final

from faust.types import EventT

# Then others have their turn. As many as the stream's buffer holds by default.
_AT_ONCE: Final = 32


async def events(stream: Any) -> AsyncIterator[Any]:
    """Those of `stream`, which are not acknowledged by Faust.

    Faust gives the event loop away before each: on a busy loop, with turns of 20 ms, an agent takes 50 records a
    second, however small. What follows in the stream's buffer is taken from there, looked at as Faust does.
    """
    app = stream.app
    async for event in stream.noack().events():
        yield event
        queue = stream.channel.queue
        for _ in range(_AT_ONCE):
            if queue.empty():
                break
            event = queue.get_nowait()  # Faust's is done with
            if (
                isinstance(event, EventT)
                and app.flow_control.is_active()
                and event.message.generation_id == app.consumer_generation_id
            ):
                yield event
