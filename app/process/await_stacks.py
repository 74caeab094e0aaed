"""Where coroutines wait: for the log of a process that ends because something never went on."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

_DEEPEST: Final = 60
_SHOWN: Final = 6
_LINES_MAX: Final = 500
_ATTEMPTS: Final = 1000  # as the standard library has it


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


def all_tasks_text() -> str:
    """Where the tasks of all event loops wait: how many, and the innermost places. Bounded."""
    counts: Counter[str] = Counter()
    for task in _all_tasks():
        counts[" < ".join(_place(frame) for frame in reversed(_frames(task.get_coro())[-_SHOWN:])) or "no frame"] += 1
    lines = [f"{count:>6} {places}" for places, count in counts.most_common(_LINES_MAX)]
    left_out = len(counts) - len(lines)
    more = [f"{left_out} further places are left out"] if left_out else []
    return "\n".join([f"{sum(counts.values())} tasks", *lines, *more]) + "\n"


def threads_text() -> str:
    """Where all threads are that Python knows: name, and the innermost places."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001  # there is no other way
        places: list[str] = []
        at: FrameType | None = frame
        while at is not None and len(places) < _SHOWN:
            places.append(_place(at))
            at = at.f_back
        lines.append(f"{names.get(ident, ident)}: {' < '.join(places)}")
    return "\n".join([f"{len(lines)} threads", *sorted(lines)]) + "\n"


def _all_tasks() -> list["asyncio.Task[Any]"]:
    """Of all loops, not only of the running one. Other threads add to the set meanwhile: then it is read again."""
    for _ in range(_ATTEMPTS):
        with suppress(RuntimeError):
            return [task for task in list(asyncio.tasks._all_tasks) if not task.done()]  # type: ignore[attr-defined]  # noqa: SLF001
    return []


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
