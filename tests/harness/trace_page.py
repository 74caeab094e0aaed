"""The trace view in a browser: which traces there are, and where its parts are found."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.api.page.page_config import LinkTemplate
from tests.harness.large_trace import LARGE_ID, large_requests
from tests.harness.page_server import PageServer
from tests.harness.page_traces import (
    GOOD_ID,
    HOSTILE_ID,
    ODD_ID,
    SLOW_ID,
    checkout_request,
    hostile_request,
    odd_request,
)
from tests.helpers.live.whole_way import Way

SLOW, ODD, HOSTILE, LARGE = (f"/trace/{one.hex()}" for one in (SLOW_ID, ODD_ID, HOSTILE_ID, LARGE_ID))
COMPARE = f"/compare?a={GOOD_ID.hex()}&b={SLOW_ID.hex()}"
SPANS = 200_000
LINKS = (
    LinkTemplate("Logs", "logs", "https://logs.example/?q=${traceId}&from=${startMs}"),
    LinkTemplate("Book", "other", "https://books.example/${tags.book.count}"),
)


@contextmanager
def trace_server() -> Iterator[PageServer]:
    """A server with the traces of page_traces and one of 200,000 spans."""
    now_ns = time.time_ns()
    small = Way(
        odd_request(now_ns),
        hostile_request(now_ns),
        checkout_request(now_ns, slow=False),
        checkout_request(now_ns, slow=True),
    )
    large = Way(*large_requests(SPANS, now_ns))
    with PageServer([small.source, large.source], links=LINKS) as running:
        yield running


def rows(page: Any) -> Any:
    return page.locator(".wf-row:visible")


def names(page: Any) -> list[str]:
    return [" ".join(text.split()) for text in rows(page).locator(".wf-op").all_inner_texts()]


def row(page: Any, name: str, nth: int = 0) -> Any:
    return rows(page).filter(has=page.locator(".wf-op", has_text=re.compile(f"^{re.escape(name)}$"))).nth(nth)


def details(page: Any) -> Any:
    return page.get_by_role("complementary", name="Details of the span")
