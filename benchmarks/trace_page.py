"""How long the web page takes to draw large traces, how smoothly it scrolls, and what its tab takes of memory.

    python -m benchmarks.trace_page [--spans 200000] [--rounds 3]

Needs Chromium and the built page (`make ui`). Serves the traces itself: the product's API and engine, without Kafka.
Prints a table: median of the rounds, milliseconds from the click on a link to the first rows drawn.
"""

import argparse
import shutil
import statistics
import sys
import time
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

from tests.harness.large_trace import large_requests
from tests.harness.page_server import PageServer
from tests.harness.page_traces import SLOW_ID, checkout_request
from tests.helpers.live.whole_way import Way

SMALL_SPANS: Final = 10_000
_SCROLL_S: Final = 4.0
# Navigates as a click on a link does, and tells when the first rows have been painted.
_OPEN: Final = """path => new Promise(done => {
  const begin = performance.now();
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
  const look = () => {
    const id = document.querySelector(".tr-id code");
    const row = document.querySelector(".wf-row:not([hidden]) .wf-op");
    if (id && path.includes(id.textContent) && row && row.textContent) {
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begin)));
    } else requestAnimationFrame(look);
  };
  look();
})"""
# Scrolls by some thousand pixels in each frame; tells frames a second, and the longest frame in ms.
_SCROLL: Final = """seconds => new Promise(done => {
  const frame = document.querySelector(".wf-scroll");
  const begin = performance.now();
  let last = begin, frames = 0, longest = 0;
  const step = now => {
    frames += 1;
    longest = Math.max(longest, now - last);
    last = now;
    frame.scrollTop += 1377;
    if (now - begin > seconds * 1000) done([frames / (now - begin) * 1000, longest]);
    else requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def opened(page: Page, path: str) -> float:
    """Milliseconds."""
    return float(page.evaluate(_OPEN, path))


def used_mb(page: Page) -> float:
    """Of the tab after a collection: JavaScript's heap and arrays."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    usage: dict[str, Any] = session.send("Runtime.getHeapUsage")
    return float(usage["usedSize"] + usage.get("backingStorageSize", 0)) / 1e6


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace_page", description=__doc__)
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is missing", file=sys.stderr)
        return 1
    now_ns = time.time_ns()
    ids = {spans: spans.to_bytes(16, "big") for spans in (SMALL_SPANS, options.spans)}
    sources = [Way(*large_requests(spans, now_ns, trace_id)).source for spans, trace_id in ids.items()]
    sources.append(Way(checkout_request(now_ns, slow=True)).source)
    with PageServer(sources) as server, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        times: dict[int, list[float]] = {spans: [] for spans in ids}
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{server.url}/trace/{SLOW_ID.hex()}")
        page.wait_for_selector(".wf-row .wf-op")
        for _ in range(options.rounds):
            for spans, trace_id in ids.items():
                times[spans].append(opened(page, f"/trace/{trace_id.hex()}"))
                opened(page, f"/trace/{SLOW_ID.hex()}")
        opened(page, f"/trace/{ids[options.spans].hex()}")
        page.get_by_role("button", name="Fold repeats").click()
        page.wait_for_timeout(500)
        rate, longest = page.evaluate(_SCROLL, _SCROLL_S)
        size = used_mb(page)
        browser.close()
    print("| what | figure |\n|---|---|")
    for spans, found in times.items():
        each = ", ".join(f"{one:.0f}" for one in found)
        print(f"| {spans} spans, drawn after | {statistics.median(found):.0f} ms ({each}) |")
    print(f"| {options.spans} spans, scrolled | {rate:.0f} frames/s, longest frame {longest:.0f} ms |")
    print(f"| {options.spans} spans, memory of the tab | {size:.0f} MB of JavaScript |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
