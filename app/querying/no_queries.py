"""What a process without a live store answers to queries."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from app.api.errors import Unavailable

T = TypeVar("T")


class NoQueries:
    """What a process without a live store answers. target: what it runs"""

    def __init__(self, reasons: Callable[[], Sequence[str]], target: str) -> None:
        self._reasons, self._target = reasons, target

    def not_ready(self) -> Sequence[str]:
        """Why this process cannot serve yet."""
        return self._reasons()

    def damage(self) -> Sequence[str]:
        """Nothing: it reads no stored data."""
        return ()

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        """What `make` returns, run on a thread."""
        return await asyncio.to_thread(make)

    def close(self) -> None:
        """Does nothing: no query runs here."""

    async def _refuse(self, *_: Any, **__: Any) -> Any:
        """Refuses a query of any kind. Raises: Unavailable."""
        raise Unavailable(
            f"this process answers no queries (TARGET={self._target}); ask one with TARGET=live-store or TARGET=all"
        )

    search = trace = metrics_range = metrics_instant = tag_names = tag_values = _refuse
