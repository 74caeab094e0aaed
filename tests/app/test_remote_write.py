"""The remote-write client: what it sends, when it sends again, when it gives up."""

import asyncio
import base64
import time

import pytest
from aiohttp import web

from app.remote_write.client import RemoteWriter, Target, retry_after_s

FAST = {"backoff_min_s": 0.01, "backoff_max_s": 0.02, "timeout_s": 5.0}


class Receiver:
    """Answers with the given statuses, then 204."""

    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/write", self.take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def take(self, request):
        self.seen.append((time.monotonic(), dict(request.headers), await request.read()))
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        return web.Response(status=status, headers=headers, text="because")


def send(receiver, tenant="t", bodies=(b"one", b"two"), user="", **target):
    async def run():
        async with receiver:
            chosen = Target(f"http://{user}127.0.0.1:{receiver.port}/write", **FAST, **target)
            writer = RemoteWriter([chosen], "single-tenant")
            async with asyncio.timeout(10):
                await writer.send(tenant, bodies)
            await writer.close()
        return [body for _, _, body in receiver.seen]

    return asyncio.run(run())


def test_headers():
    """Those of remote write 1.0, one's own, the tenant, and the URL's credentials."""
    receiver = Receiver()
    assert send(receiver, user="me:p%20w@", headers=(("X-Mine", "1"),)) == [b"one", b"two"]
    headers = receiver.seen[0][1]
    assert headers["Content-Encoding"] == "snappy"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["X-Prometheus-Remote-Write-Version"] == "0.1.0"
    assert headers["X-Scope-OrgID"] == "t"
    assert headers["X-Mine"] == "1"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:p w"


def test_the_only_tenant_is_not_named():
    """Without multitenancy a receiver need not know of tenants."""
    receiver = Receiver()
    send(receiver, tenant="single-tenant")
    assert "X-Scope-OrgID" not in receiver.seen[0][1]


@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 302])
def test_sent_again(status):
    """Until it is accepted, and before what comes after it."""
    assert send(Receiver((status, {}), (status, {}))) == [b"one", b"one", b"one", b"two"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_given_up(status):
    """What is wrong in itself is dropped; what comes after it is sent."""
    assert send(Receiver((status, {}))) == [b"one", b"two"]


def test_retry_after():
    """The receiver says how long to wait."""
    receiver = Receiver((429, {"Retry-After": "1"}))
    send(receiver, bodies=[b"one"])
    assert receiver.seen[1][0] - receiver.seen[0][0] >= 1


def test_a_receiver_that_comes_back():
    """A connection that is refused is tried again; one target that is away does not keep the other's from it."""

    async def run():
        async with Receiver() as gone:
            pass
        async with Receiver() as there:
            urls = [f"http://127.0.0.1:{one.port}/write" for one in (gone, there)]
            writer = RemoteWriter([Target(url, **FAST) for url in urls], "")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await writer.send("t", [b"one"])
            await writer.close()
            assert [body for _, _, body in there.seen] == [b"one"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("", 0), ("7", 7), ("Thu, 01 Jan 1970 00:00:30 GMT", 20), ("Thu, 01 Jan 1970 00:00:05 GMT", 0), ("soon", 0)],
)
def test_retry_after_s(header, wait_s):
    """Seconds or a date; anything else is no wish."""
    assert retry_after_s(header, 10.0) == wait_s
