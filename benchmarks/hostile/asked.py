"""Random requests of Tempo's API over wide data: queries, limits, ranges and steps, also absurd ones.

A quarter of those that gRPC's messages can hold is for the streaming API, the others for HTTP.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from app.api.proto import tempo_pb2 as pb
from benchmarks.hostile.grammar import Grammar
from benchmarks.hostile.wide import Wide

TENANTS: Final = ("wide", "other")
_LIMITS: Final = ("", "1", "20", "1000", "100000", "4294967295", "0", "x")
_STEPS: Final = ("", "1s", "10s", "1m", "1h", "1ns", "0", "-1", "y")
_STEPS_NS: Final = {"1s": 10**9, "10s": 10**10, "1m": 60 * 10**9, "1h": 3600 * 10**9, "1ns": 1}
_ACCEPT: Final = ("application/json", "application/protobuf", "*/*")


@dataclass(frozen=True, slots=True)
class Asked:
    """kind: for the report; target: path and parameters

    streamed: method and message of the streaming API, for what is asked there
    """

    kind: str
    target: str
    headers: dict[str, str]
    streamed: tuple[str, bytes] | None = None


def asked(wide: Wide, seed: int, count: int) -> Iterator[Asked]:
    """So many requests; the same for the same seed."""
    rng = Random(seed)
    grammar = Grammar(wide, rng)
    for _ in range(count):
        made = _KINDS[rng.randrange(len(_KINDS))](wide, grammar, rng)
        kind, path, parameters = made
        streamed = _streamed(*made) if rng.random() < 0.25 else None
        headers = {
            "X-Scope-OrgID": rng.choice(TENANTS),
            "Accept": rng.choice(_ACCEPT),
            "Accept-Encoding": rng.choice(("gzip", "identity")),
        }
        filled = {name: value for name, value in parameters.items() if value}
        # "surrogatepass": the texts may have halves of characters in them.
        joint = "" if "?" in path else "?"
        yield Asked(kind, f"{path}{joint}{urlencode(filled, errors='surrogatepass')}", headers, streamed)


def _streamed(kind: str, path: str, parameters: dict[str, str]) -> tuple[str, bytes] | None:
    """None: no message can hold it."""
    p, number = parameters, _number
    times: dict[str, Any] = {"start": int(p.get("start", 0)), "end": int(p.get("end", 0))}
    message: Any
    v2 = "V2" if "/v2/" in path else ""
    try:
        match kind:
            case "search":
                sizes: dict[str, Any] = {"Limit": number(p["limit"]), "SpansPerSpanSet": number(p["spss"])}
                return "Search", pb.SearchRequest(Query=p["q"], **sizes, **times).SerializeToString()
            case "metrics range":
                times = {name: 10**9 * value for name, value in times.items()}
                step, exemplars = _STEPS_NS.get(p["step"], 0), number(p["exemplars"])
                message = pb.QueryRangeRequest(query=p["q"], step=step, exemplars=exemplars, **times)
                return "MetricsQueryRange", message.SerializeToString()
            case "metrics instant":
                times = {name: 10**9 * value for name, value in times.items()}
                return "MetricsQueryInstant", pb.QueryInstantRequest(query=p["q"], **times).SerializeToString()
            case "tags":
                message = pb.SearchTagsRequest(
                    scope=p["scope"], query=p["q"], maxTagsPerScope=number(p["limit"]), **times
                )
                return f"SearchTags{v2}", message.SerializeToString()
            case "tag values":
                tag = unquote(path.removesuffix("/values").rpartition("/")[2])
                message = pb.SearchTagValuesRequest(tagName=tag, query=p["q"], maxTagValues=number(p["limit"]), **times)
                return f"SearchTagValues{v2}", message.SerializeToString()
            case _:
                return None
    except ValueError:  # no number, a number that does not fit, half a character
        return None


def _number(text: str) -> int:
    return int(text or "0")


def _times(wide: Wide, rng: Random) -> dict[str, str]:
    start_s = wide.start_ns // 10**9
    length_s = rng.choice((0, 1, 60, 600, 3600, 3600, 86_400, 604_800))
    first_s = start_s + rng.choice((0, 0, 0, -3600, rng.randrange(3600)))
    return {"start": str(first_s), "end": str(first_s + length_s)}


def _search(wide: Wide, grammar: Grammar, rng: Random) -> tuple[str, str, dict[str, str]]:
    extra = {
        "q": grammar.search(),
        "limit": rng.choice(_LIMITS),
        "spss": rng.choice(("", "3", "100", "0", "100000")),
        "order": rng.choice(("", "", "duration")),
        "total": rng.choice(("", "", "true")),
    }
    return "search", "/api/search", {**extra, **_times(wide, rng)}


def _range(wide: Wide, grammar: Grammar, rng: Random) -> tuple[str, str, dict[str, str]]:
    extra = {"q": grammar.metrics(), "step": rng.choice(_STEPS), "exemplars": rng.choice(("", "0", "100", "100000"))}
    return "metrics range", "/api/metrics/query_range", {**extra, **_times(wide, rng)}


def _instant(wide: Wide, grammar: Grammar, rng: Random) -> tuple[str, str, dict[str, str]]:
    return "metrics instant", "/api/metrics/query", {"q": grammar.metrics(), **_times(wide, rng)}


def _tags(wide: Wide, grammar: Grammar, rng: Random) -> tuple[str, str, dict[str, str]]:
    scope = rng.choice(("", "span", "resource", "event", "link", "intrinsic", "none"))
    extra = {"scope": scope, "q": grammar.filter() if rng.random() < 0.7 else "", "limit": rng.choice(_LIMITS)}
    return "tags", rng.choice(("/api/search/tags", "/api/v2/search/tags")), {**extra, **_times(wide, rng)}


def _values(wide: Wide, grammar: Grammar, rng: Random) -> tuple[str, str, dict[str, str]]:
    tag = quote(grammar.field(), safe="")
    extra = {"q": grammar.filter() if rng.random() < 0.7 else "", "limit": rng.choice(_LIMITS)}
    version = rng.choice(("", "v2/"))
    return "tag values", f"/api/{version}search/tag/{tag}/values", {**extra, **_times(wide, rng)}


def _trace(wide: Wide, grammar: Grammar, rng: Random) -> tuple[str, str, dict[str, str]]:
    del grammar
    trace = wide.huge_trace.hex() if rng.random() < 0.7 else rng.randbytes(16).hex()
    extra = {"limit": rng.choice(("", "1", "100", "10000"))} if rng.random() < 0.7 else {}
    path = f"/api/{rng.choice(('', 'v2/'))}traces/{trace}"
    # A cursor without a value asks for the first page.
    return "trace by id", path + ("?cursor=&" if extra else "?"), extra


_KINDS: Final = (_search, _search, _search, _range, _range, _instant, _tags, _values, _trace)
