"""POST /-/reload: who may, what it answers, and that it reaches all workers of the machine."""

import asyncio

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from app.api.limits import ApiLimits
from app.api.server import build_api
from app.api.status.process import Process
from app.api.status.reload import ReloadAnswer
from app.net.access import Access
from tests.helpers.querying.api import hashed
from tests.helpers.querying.engine import Engine

TOKENS = {"*": [hashed("root")], "acme": [hashed("a1")]}


def api(answer=None, *, credentials=None, workers=()):
    async def reload_now():
        return answer

    return build_api(
        Engine([]),
        ApiLimits(),
        Access(multitenancy=True, credentials=credentials),
        process=Process("all", workers=workers),
        reload_now=reload_now if answer else None,
    )


async def post(app, headers=None, path="/-/reload", method="POST"):
    async with TestClient(TestServer(app)) as client:
        answer = await client.request(method, path, headers=headers or {})
        return answer.status, await answer.text()


GOOD, BAD = ReloadAnswer(True, "changed: none"), ReloadAnswer(False, "x.yaml:1: wrong")


@pytest.mark.parametrize(
    ("app", "token", "want"),
    [
        (lambda: api(GOOD), None, (200, "changed: none\n")),
        (lambda: api(BAD), None, (500, "x.yaml:1: wrong\n")),
        (lambda: api(GOOD, credentials=TOKENS), "root", (200, "changed: none\n")),
        (lambda: api(GOOD, credentials=TOKENS), "a1", (403, "operators")),
        (lambda: api(GOOD, credentials=TOKENS), "nope", (401, "")),
        (lambda: api(GOOD, credentials=TOKENS), None, (401, "")),
        (lambda: api(), None, (404, "")),
    ],
)
def test_answers(app, token, want):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    status, text = asyncio.run(post(app(), headers))
    assert status == want[0]
    assert want[1] in text


def test_only_by_post():
    """A link or a picture must not do it."""
    assert asyncio.run(post(api(GOOD), method="GET"))[0] == 405


def test_all_workers():
    """Whoever is asked asks all, with the token that was sent; one that is wrong or away makes it a failure."""

    async def ask(answers, *, gone=False):
        servers = [TestServer(api(answer, credentials=TOKENS)) for answer in answers]
        for server in servers:
            await server.start_server()
        workers = [f"127.0.0.1:{server.port}" for server in servers] + (["127.0.0.1:1"] if gone else [])
        try:
            return await post(api(GOOD, credentials=TOKENS, workers=workers), {"Authorization": "Bearer root"})
        finally:
            for server in servers:
                await server.close()

    assert asyncio.run(ask([GOOD, GOOD])) == (200, "worker 1:\nchanged: none\nworker 2:\nchanged: none\n")
    assert asyncio.run(ask([GOOD, BAD])) == (500, "worker 1:\nchanged: none\nworker 2:\nx.yaml:1: wrong\n")
    status, text = asyncio.run(ask([GOOD], gone=True))
    assert status == 500
    assert "worker 2:\ndoes not answer: " in text
    assert aiohttp.ClientError.__name__ not in text
