"""GET /debug/…: off by default, behind the access rules, one look at a time."""

import asyncio

import aiohttp
import pytest

from app.process.sampler import StackSamples, to_collapsed
from tests.helpers.querying.api import CREDENTIALS, FakeBackend, api_over, serving

PATHS = ["/debug/tasks", "/debug/threads", "/debug/memory", "/debug/memory?seconds=1", "/debug/pprof/profile?seconds=1"]


def ask(*paths, headers=None, **kwargs):
    """Status and text of each, asked at once."""

    async def one(session, url):
        async with session.get(url) as answer:
            return answer.status, await answer.text(errors="replace")

    async def use(address):
        async with aiohttp.ClientSession(headers=headers) as session:
            return await asyncio.gather(*(one(session, address + path) for path in paths))

    return asyncio.run(serving(api_over(FakeBackend(), **kwargs), use))


@pytest.mark.parametrize("path", PATHS)
def test_off(path):
    [(status, text)] = ask(path)
    assert (status, "server.pprof_enabled" in text) == (404, True)


@pytest.mark.parametrize("path", PATHS)
def test_needs_a_token(path):
    [(status, _)] = ask(path, profiling=True, multitenancy=True, credentials=CREDENTIALS)
    assert status == 401


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("/debug/tasks", [" tasks\n", "test_debug.py:"]),
        ("/debug/threads", [" threads\n", "MainThread: "]),
        ("/debug/memory", ["resident_bytes ", "arrow_bytes ", "objects by type"]),
        ("/debug/memory?seconds=1", ["resident_bytes ", "allocated within 1 s", " blocks "]),
        ("/debug/pprof/profile?seconds=1&format=collapsed", [".py:", ";"]),
    ],
)
def test_on(path, texts):
    [(status, text)] = ask(path, profiling=True)
    assert status == 200
    assert [one for one in texts if one not in text] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [("/debug/memory?seconds=61", 400), ("/debug/memory?seconds=x", 400), ("/debug/pprof/profile?format=x", 400)],
)
def test_bad_parameters(path, status):
    assert ask(path, profiling=True)[0][0] == status


def test_one_look_at_memory_at_a_time():
    found = ask("/debug/memory?seconds=1", "/debug/memory?seconds=1", profiling=True)
    assert sorted(status for status, _ in found) == [200, 429]
    assert ask("/debug/memory", profiling=True)[0][0] == 200


def test_collapsed():
    samples = StackSamples()
    samples.wall_ns[("inner", "/a/b.py", 3), ("outer;x", "/a/c.py", 1)] = 2_000_000
    samples.wall_ns[("other", "/a/b.py", 9),] = 5_000_000
    assert to_collapsed(samples) == "other (b.py:9) 5\nouter,x (c.py:1);inner (b.py:3) 2\n"
