"""Starts and stops the demo as a file says: the web page's worker makes and removes it, `stretto run` does the rest."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.standalone.child import Child, Command
from app.standalone.errors import StandaloneError
from app.standalone.supervisor import keep_alive

_POLL_S: Final = 0.3
_STOP_S: Final = 2.0


class DemoSwitch:
    """The demo runs while the file is there."""

    def __init__(self, file: Path, demo: Command, children: list[Child], say: Callable[[str], None]) -> None:
        """children: gets the demo while it runs, so that it is stopped with all others"""
        self._file, self._demo, self._children, self._say = file, demo, children, say
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    def reset(self, *, on: bool) -> None:
        """Forgets what a run before has left."""
        if on:
            self._file.touch()
        else:
            self._file.unlink(missing_ok=True)

    async def follow(self) -> None:
        """Until it is cancelled. A demo that dies again and again switches itself off: the server goes on."""
        try:
            while True:
                wanted = self._file.exists()
                if wanted and self._child is None:
                    self._begin()
                elif not wanted and self._child is not None:
                    await self._end()
                elif self._keeper is not None and self._keeper.done():
                    self._give_up(self._keeper)
                await asyncio.sleep(_POLL_S)
        finally:
            if self._keeper is not None:
                self._keeper.cancel()

    def _begin(self) -> None:
        self._child = Child(self._demo, self._say)
        self._children.append(self._child)
        self._child.start()
        self._keeper = asyncio.create_task(keep_alive(self._child, self._say))

    async def _end(self) -> None:
        assert self._child is not None
        assert self._keeper is not None
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError, StandaloneError):
            await self._keeper
        await self._child.stop(_STOP_S)
        self._children.remove(self._child)
        self._child = self._keeper = None

    def _give_up(self, keeper: "asyncio.Task[None]") -> None:
        error = keeper.exception()
        self._say(f"The demo is off: {error}")
        self._file.unlink(missing_ok=True)
