"""GET /debug/pprof/profile: what the process does for some seconds, for `go tool pprof` and speedscope."""

import asyncio
import threading
from functools import partial
from typing import Final

from aiohttp import web

from app.api import params
from app.api.errors import ParameterError, TooManyRequests, plain_text
from app.process.sampler import StackSamples, sample, to_collapsed, to_pprof

routes = web.RouteTableDef()

SETTING: Final = "server.pprof_enabled"
PROFILING: Final = web.AppKey("profiling", bool)
_SECONDS: Final = 30  # as Go's
_SECONDS_MAX: Final = 300
_FORMATS: Final = ("pprof", "collapsed")
_one_at_a_time = threading.Lock()


@routes.get("/debug/pprof")
@routes.get("/debug/pprof/")
async def index(request: web.Request) -> web.Response:
    """Lists the profiles that there are."""
    return _off(request) or web.Response(text="/debug/pprof/profile?seconds=30\n")


@routes.get("/debug/pprof/profile")
async def profile(request: web.Request) -> web.Response:
    """All threads of Python, 100 times a second: ?seconds=, &format=pprof or collapsed. One at a time."""
    if (off := _off(request)) is not None:
        return off
    seconds = params.whole_number(request.query, "seconds", most=_SECONDS_MAX) or _SECONDS
    if (form := request.query.get("format", "pprof")) not in _FORMATS:
        raise ParameterError(f"format must be one of {', '.join(_FORMATS)}")
    collapsed = form == "collapsed"
    if not _one_at_a_time.acquire(blocking=False):
        raise TooManyRequests("a profile is being made already; ask again when it is done", seconds)
    gone = threading.Event()
    try:
        samples = await asyncio.to_thread(partial(_profile, seconds, gone))
    finally:
        gone.set()
    if collapsed:
        return web.Response(text=to_collapsed(samples))
    body = await asyncio.to_thread(to_pprof, samples)
    headers = {"Content-Disposition": 'attachment; filename="profile.pb.gz"', "X-Content-Type-Options": "nosniff"}
    return web.Response(body=body, content_type="application/octet-stream", headers=headers)


def _profile(seconds: int, gone: threading.Event) -> StackSamples:
    try:
        return sample(seconds, gone.is_set)
    finally:
        _one_at_a_time.release()


def _off(request: web.Request) -> web.Response | None:
    if request.app[PROFILING]:
        return None
    return plain_text(404, f"profiles are off: switch them on with the setting {SETTING}")
