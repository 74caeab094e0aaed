"""A real Chromium on a loaded server: what a person sees. Skipped, loudly, without Chromium or without a built page."""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from app.api.page.files import FOLDER, INDEX
from tests.harness.page_server import PageServer, shop_requests, sources_of
from tests.harness.trace_page import rows, trace_server

sync_api = pytest.importorskip("playwright.sync_api")
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TRACES = 700


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    reason = ""
    if path is None:
        reason = "the tests of the web page need Chromium (Debian: apt-get install chromium)"
    elif not (FOLDER / INDEX).is_file():
        reason = "the web page is not built: make ui"
    if reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        warnings.warn(pytest.PytestWarning(reason), stacklevel=1)
        pytest.skip(reason)
    assert path is not None
    return path


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator["Browser"]:
    with sync_api.sync_playwright() as running:
        # A busy machine takes its time; what never comes is as wrong after a longer wait.
        sync_api.expect.set_options(timeout=20_000)
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def shop() -> list:
    """Sources with a bookshop's traces of the last hour."""
    return sources_of(shop_requests(time.time_ns(), TRACES))


@pytest.fixture(scope="session")
def server(shop: list, chromium: str) -> Iterator[PageServer]:
    """One for all tests that leave it as it is."""
    with PageServer(shop) as running:
        yield running


class Tab:
    """A tab, and what went wrong in it."""

    def __init__(self, page: "Page", base: str) -> None:
        self.page, self.base = page, base
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: str) -> "Page":
        self.page.goto(self.base + path)
        return self.page

    def wrong(self) -> list[str]:
        """Unexpected errors. That a request was refused the browser says by itself, and that it may not keep the style
        of editable text that is replaced: the editor wants none.
        """
        usual = ("Failed to load resource", "Applying inline style violates")
        return [text for text in self.errors if not text.startswith(usual)]

    def elsewhere(self) -> list[str]:
        """Requests to other hosts."""
        own = (self.base, "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]


@pytest.fixture
def new_tab(browser: "Browser") -> Iterator[Callable[..., Tab]]:
    """Opens tabs of a fresh browser profile; in the end none of them may have had an error."""
    contexts, tabs = [], []

    def make(base: str, theme: str = "light", **options) -> Tab:
        size = {"width": 1400, "height": 900}
        settings = {"viewport": size, "color_scheme": theme, "timezone_id": "Europe/Berlin", "locale": "en-GB"}
        contexts.append(browser.new_context(**settings | options))
        tabs.append(Tab(contexts[-1].new_page(), base))
        return tabs[-1]

    yield make
    wrong = [text for tab in tabs for text in tab.wrong()]
    elsewhere = [url for tab in tabs for url in tab.elsewhere()]
    for context in contexts:
        context.close()
    assert wrong == []
    assert elsewhere == []


@pytest.fixture
def tab(new_tab: Callable[..., Tab], server: PageServer) -> Tab:
    return new_tab(server.url)


@pytest.fixture(scope="session")
def traces(chromium: str) -> Iterator[PageServer]:
    """A server with the traces of `trace_server`."""
    with trace_server() as running:
        yield running


@pytest.fixture
def see(new_tab: Callable[..., Tab], traces: PageServer) -> Callable[..., "Page"]:
    """see(path, theme="light") → the page, with the first row drawn."""

    def see(path: str, theme: str = "light", **options) -> "Page":
        page = new_tab(traces.url, theme, **options).open(path)
        if path.startswith("/trace/") and "tab=" not in path:
            sync_api.expect(rows(page).first).to_be_visible()
        return page

    return see
