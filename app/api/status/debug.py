"""GET /debug/…: tasks, threads and memory of this process, as text. Off unless `server.pprof_enabled` is set."""

import asyncio
import threading
from functools import partial
from typing import Final

from aiohttp import web

from app.api import params
from app.api.errors import TooManyRequests, plain_text
from app.api.status.profile import PROFILING, SETTING
from app.process.await_stacks import all_tasks_text, threads_text
from app.process.memory_report import allocations_text, objects_text

routes = web.RouteTableDef()

_SECONDS_MAX: Final = 60
_one_at_a_time = threading.Lock()


@routes.get("/debug/tasks")
async def tasks(request: web.Request) -> web.Response:
    """Where the tasks of all event loops wait, the same places together; the most frequent first."""
    return _off(request) or web.Response(text=all_tasks_text())


@routes.get("/debug/threads")
async def threads(request: web.Request) -> web.Response:
    """Where all threads of Python are."""
    return _off(request) or web.Response(text=threads_text())


@routes.get("/debug/memory")
async def memory(request: web.Request) -> web.Response:
    """The memory of the process, and its objects by type; with ?seconds=, what was allocated in that time and is still
    there, by line. One at a time.
    """
    if (off := _off(request)) is not None:
        return off
    seconds = params.whole_number(request.query, "seconds", most=_SECONDS_MAX)
    if not _one_at_a_time.acquire(blocking=False):
        raise TooManyRequests("memory is being looked at already; ask again when it is done", seconds or 1)
    gone = threading.Event()
    try:
        return web.Response(text=await asyncio.to_thread(partial(_memory, seconds, gone)))
    finally:
        gone.set()


def _memory(seconds: int | None, gone: threading.Event) -> str:
    try:
        return allocations_text(seconds, gone) if seconds else objects_text()
    finally:
        _one_at_a_time.release()


def _off(request: web.Request) -> web.Response | None:
    if request.app[PROFILING]:
        return None
    return plain_text(404, f"/debug is off: switch it on with the setting {SETTING}")
