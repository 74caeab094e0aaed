"""Several questions at once, whose first error is the error of all."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(asking: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers. Raises: the first error, as it is; the others are given up, and have ended"""
    tasks = [asyncio.ensure_future(one) for one in asking]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        # They are over then: whoever asked with them may close what they use.
        await asyncio.gather(*tasks, return_exceptions=True)
