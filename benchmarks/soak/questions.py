"""Questions of the kinds whose answers are not counted: there must be an answer, and it must not be empty."""

import json
import urllib.parse
from typing import Final

from benchmarks.soak import count
from benchmarks.soak.ledger import Ledger

# Path, parameters but for the times, and the key of the answer that must not be empty.
PATHS: Final[tuple[tuple[str, dict[str, str], str], ...]] = (
    ("/api/search", {"q": "{ kind = server } >> { kind = client } | select(resource.service.name)"}, "traces"),
    ("/api/search", {"q": "{ } | count() > 2 | avg(duration) > 1us", "limit": "5"}, "traces"),
    ("/api/metrics/query_range", {"q": "{ } | rate() by (resource.service.name)", "step": "1s"}, "series"),
    ("/api/metrics/query_range", {"q": "{ } | quantile_over_time(duration, .5, .99) by (name)"}, "series"),
    ("/api/metrics/query_range", {"q": "{ } | histogram_over_time(duration)"}, "series"),
    ("/api/metrics/query_range", {"q": "{ } | compare({ kind = server })"}, "series"),
    ("/api/v2/search/tags", {}, "scopes"),
    ("/api/v2/search/tag/resource.service.name/values", {}, "tagValues"),
)


def answered(
    path: tuple[str, dict[str, str], str], ledger: Ledger, number: int, http_url: str, within_s: float
) -> count.Found:
    """Asks about the time of one pass. An answer without anything counts as one missing span.

    path: one of PATHS. Raises: what `count.asked_once` raises
    """
    route, parameters, key = path
    template, start_ns = ledger.template, ledger.starts_ns[number]
    least = ledger.bounds(number)[0]
    times = {
        "start": str((start_ns + template.first_ns) // count.NS),
        "end": str((start_ns + template.last_ns) // count.NS + 1),
    }
    url = f"{http_url}{route}?{urllib.parse.urlencode({**parameters, **times})}"
    answer = json.loads(count.asked_once(url, within_s))
    found = count.Found()
    if not answer.get(key) and least.any():
        found.missing = 1
        found.example(f"pass {number}: {url.removeprefix(http_url)} finds nothing")
    return found
