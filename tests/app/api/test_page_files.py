"""The web page's files: who gets what, in which coding, kept for how long; and what / says without a built page."""

import asyncio
import gzip
import os
import re
from pathlib import Path

import aiohttp
import pytest

from app.api.page.files import PageFiles
from app.api.page.serve import FILES, POLICY, VIEWS
from tests.helpers.files import ROOT
from tests.helpers.querying.api import CREDENTIALS, Answer, api_over, serving
from tests.helpers.querying.engine import Engine

INDEX = b"<!doctype html><title>x</title>"
SCRIPT = b"export {};"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "dist"
    (built / "assets").mkdir(parents=True)
    for name, body in (("assets/main-AB.js", SCRIPT), ("favicon.svg", b"<svg/>"), ("index.html", INDEX)):
        (built / name).write_bytes(body)
        (built / f"{name}.gz").write_bytes(gzip.compress(body))
        (built / f"{name}.br").write_bytes(b"br:" + body)
    return built


@pytest.fixture
def get(folder: Path):
    """get(path, **headers) -> Answer"""
    api = None

    def get(path: str, headers: dict[str, str] | None = None, **settings) -> Answer:
        nonlocal api
        api = api_over(Engine([]), **settings)
        api[FILES] = PageFiles(folder)

        async def use(base: str) -> Answer:
            # Nothing is asked for that the test does not say.
            given = {"Accept-Encoding": "identity", **(headers or {})}
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                session.get(base + path, headers=given) as response,
            ):
                return Answer(response.status, dict(response.headers), await response.read())

        return asyncio.run(serving(api, use))

    return get


@pytest.mark.parametrize("path", [*VIEWS[:-1], "/trace/abc", "/trace/a/b", "/search?q=%7B%20%7D"])
def test_every_view_is_the_page(get, path):
    answer = get(path)
    assert (answer.status, answer.body) == (200, INDEX)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["Cache-Control"] == "no-cache"


def test_the_views_are_those_of_the_page():
    text = (ROOT / "app/ui/src/views/index.ts").read_text(encoding="utf-8")
    paths = re.findall(r'\{ path: "([^"]+)"', text)
    assert sorted(paths) == sorted(view.replace("{id:.+}", "") for view in VIEWS)


def test_names_with_hashes_are_kept_for_good(get):
    answer = get("/assets/main-AB.js")
    assert answer.body == SCRIPT
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("accepted", "coding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", b"br:" + SCRIPT),
        ("gzip", "gzip", None),
        ("br;q=0, gzip;q=0.5", "gzip", None),
        ("br;q=0.0, gzip; q=0", None, SCRIPT),
        ("identity", None, SCRIPT),
    ],
)
def test_codings(get, accepted, coding, body):
    answer = get("/assets/main-AB.js", {"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == coding
    assert (gzip.decompress(answer.body) if body is None else answer.body) == (body or SCRIPT)
    assert answer.headers["Vary"] == "Accept-Encoding"


def test_what_the_browser_has_is_not_sent_again(get):
    tag = next(value for name, value in get("/").headers.items() if name.lower() == "etag")
    answer = get("/", {"If-None-Match": tag})
    assert (answer.status, answer.body) == (304, b"")
    assert get("/", {"If-None-Match": '"another"'}).status == 200


@pytest.mark.parametrize(
    "path", ["/assets/none.js", "/assets/..%2Findex.html", "/assets/%2e%2e/index.html", "/index.html"]
)
def test_nothing_else_of_the_disk(get, path):
    assert get(path).status == 404


def test_the_page_needs_no_token_and_what_it_asks_for_does(get):
    assert get("/search", credentials=CREDENTIALS).status == 200
    assert get("/assets/main-AB.js", credentials=CREDENTIALS).status == 200
    for path in ("/api/page/config", "/api/search", "/api/service-map", "/status/config", "/assets", "/nothing"):
        assert get(path, credentials=CREDENTIALS).status == 401, path


def test_without_a_built_page_it_says_what_is_missing(get, folder):
    (folder / "index.html").unlink()
    answer = get("/")
    assert answer.status == 404
    assert "make ui" in answer.text


def test_a_newer_page_is_served_without_a_restart(folder: Path):
    files = PageFiles(folder)
    assert files.current()["index.html"].bodies["identity"] == INDEX
    (folder / "index.html").write_bytes(b"newer")
    os.utime(folder / "index.html", ns=(1, 1))
    assert files.current()["index.html"].bodies["identity"] == b"newer"
