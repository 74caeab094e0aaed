"""Where coroutines wait: for the log of a process that ends because something never went on."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

_DEEPEST: Final = 60
_SHOWN: Final = 6


def waits_in(function: str, loops: Iterable[asyncio.AbstractEventLoop] = ()) -> list[str]:
    """Of each task of this loop and the further ones that awaits something in a function of this name: the innermost
    places, as "file:line function < ...", the place that waits first.
    """
    found = []
    for loop in {asyncio.get_running_loop(), *loops}:
        for task in asyncio.all_tasks(loop):
            frames = _frames(task.get_coro())
            if any(frame.f_code.co_name == function for frame in frames):
                found.append(" < ".join(_place(frame) for frame in reversed(frames[-_SHOWN:])))
    return sorted(found)


def _frames(coroutine: Any) -> list[Any]:
    """From the task's own coroutine to that which waits."""
    frames: list[Any] = []
    while coroutine is not None and len(frames) < _DEEPEST:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return frames


def _place(frame: Any) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno} {frame.f_code.co_name}"
