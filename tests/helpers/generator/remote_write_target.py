"""A target of remote write, and what it gets."""

import asyncio
import time
from types import SimpleNamespace

from aiohttp import web

from app.remote_write.client import RemoteWriter
from app.settings.sections.remote_write import RemoteWrite
from tests.helpers.receiving.snappy import decompressed

FAST = {"min_backoff_s": 0.01, "max_backoff_s": 0.02}
WRITTEN = {"X-Prometheus-Remote-Write-Samples-Written": "1"}


class Receiver:
    """Answers with the given statuses and headers, then 204. sees: asked with each request, before it is answered."""

    def __init__(self, *answers, tls=None, wait=None):
        self.answers, self.tls, self.wait = list(answers), tls, wait
        self.seen, self.at_once, self.most_at_once = [], 0, 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/write", self.take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def take(self, request):
        body = decompressed(await request.read())
        self.seen.append((time.monotonic(), dict(request.headers), body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.wait is not None:
            await self.wait(request.headers.get("X-Scope-OrgID", ""))
        self.at_once -= 1
        status, headers = self.answers.pop(0) if self.answers else (204, WRITTEN)
        return web.Response(status=status, headers=headers, text="because")

    @property
    def bodies(self):
        return [body for _, _, body in self.seen]

    @property
    def headers(self):
        return self.seen[-1][1]


def push(*bodies, again=False):
    """As `Push`: the requests of each version, and what was asked of them."""

    def requests(series_max, version, *, exemplars, natives):
        asked.append((series_max, version, exemplars, natives))
        return iter([body if version == 1 else body + b" in 2.0" for body in bodies])

    asked = []
    return SimpleNamespace(requests=requests, asked=asked, again=again)


def config(receiver, *, user="", scheme="http", host="127.0.0.1", queue_config=None, **changes):
    url = f"{scheme}://{user}{host}:{receiver.port}/write"
    return RemoteWrite.model_validate({"url": url, "queue_config": FAST | (queue_config or {}), **changes})


async def sent(receiver, *bodies, tenant="t", **changes):
    """One push to a target of that configuration."""
    writer = RemoteWriter(config(receiver, **changes), "target", "single-tenant")
    one = push(*(bodies or (b"one", b"two")))
    try:
        async with asyncio.timeout(10):
            await writer.send(tenant, one)
    finally:
        await writer.close()
    return one.asked


def send(receiver, *bodies, **changes):
    async def run():
        async with receiver:
            return await sent(receiver, *bodies, **changes)

    asked = asyncio.run(run())
    return receiver.bodies, asked
