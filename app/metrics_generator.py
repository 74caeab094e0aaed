"""Runs the metrics generator's clock: collects, sends, and pushes once more at the end."""

from typing import Any

import faust

from agents.metrics_generator import MetricsGenerator
from app.remote_write.client import RemoteWriter

_PUSH_AT_STOP_S = 3.0


class Pusher(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """A part of the generator's Faust app."""

    def __init__(self, generator: MetricsGenerator, writer: RemoteWriter, interval_s: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._generator, self._writer, self._interval_s = generator, writer, interval_s

    @faust.Service.task
    async def _collect(self) -> None:
        while not self.should_stop:
            await self.sleep(self._interval_s)
            if not self.should_stop:
                await self._generator.collect()

    @faust.Service.task
    async def _send(self) -> None:
        await self._generator.send_forever()

    async def on_stop(self) -> None:
        """So that whoever takes over, or a restart, need not count the last seconds again."""
        await self._generator.push_now(within_s=_PUSH_AT_STOP_S)
        await self._writer.close()
