"""`stretto query search|trace|metrics|tags|values`: the command-line client."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.cli.query import tables
from app.cli.query.client import Api, QueryError
from app.cli.query.pages import joined_spans, joined_traces, pages
from app.cli.query.times import duration_s, moment_s

DEFAULT_URL: Final = "http://127.0.0.1:3200"


@dataclass(frozen=True, slots=True)
class Answer:
    """body: the server's JSON; show: formats it as text"""

    body: Any
    show: Callable[[Any], str]


Ask = Callable[[Api, argparse.Namespace], Answer]


def main(argv: list[str]) -> int:
    """Sends a query and prints the answer. Returns the exit status. Raises: QueryError"""
    options = _parser().parse_args(argv)
    answer: Answer = options.ask(Api(options.url, options.tenant, _token(options.token_file)), options)
    if options.output == "json":
        text = json.dumps(answer.body, indent=2, ensure_ascii=False) + "\n"
    else:
        text = answer.show(answer.body)
    sys.stdout.write(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stretto query",
        description="Queries a running server. A time is now-1h, unix seconds or 2026-11-21T15:04:05Z.",
    )
    kinds = parser.add_subparsers(required=True, metavar="WHAT")

    search = _kind(kinds, "search", _search, "traces that match a TraceQL query, the newest first")
    search.add_argument("query", nargs="?", default="{ }", help="TraceQL (default: all traces)")
    search.add_argument("--limit", type=int, help="number of traces (default: the server's, 20)")
    search.add_argument("--order", choices=("start", "duration"), help="duration: the longest traces first")
    search.add_argument("--total", action="store_true", help="also count all traces that match")
    search.add_argument("--all", action="store_true", help="all traces that match, read in pages of --limit")
    search.add_argument(
        "--cursor", metavar="TEXT", help="a page: '' for the first, then the cursor at the end of the page before"
    )
    _with_debug(search)
    search.add_argument("--spans", type=int, metavar="N", help="number of spans per trace in JSON")

    trace = _kind(kinds, "trace", _trace, "one trace as a tree of its spans")
    trace.add_argument("trace_id", metavar="ID", help="in hex; leading zeros may be omitted")

    metrics = _kind(kinds, "metrics", _metrics, "a TraceQL metrics query over time; without times the last hour")
    metrics.add_argument("query", help="such as '{ status = error } | rate() by (resource.service.name)'")
    metrics.add_argument("--step", help="time between samples, such as 10s")
    metrics.add_argument("--instant", action="store_true", help="one value for the whole range")
    _with_debug(metrics)

    tags = _kind(kinds, "tags", _tags, "the names of attributes and intrinsics")
    tags.add_argument("query", nargs="?", help="TraceQL: only from spans that match")
    tags.add_argument("--scope", help="resource, span, event, link, instrumentation or intrinsic")
    tags.add_argument("--limit", type=int, help="number per scope")

    values = _kind(kinds, "values", _values, "the values of a tag")
    values.add_argument("tag", help="such as resource.service.name, span.http.route, name")
    values.add_argument("query", nargs="?", help="TraceQL: only from spans that match")
    values.add_argument("--limit", type=int, help="number of values")
    return parser


def _with_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debug", action="store_true", help="print to stderr what the server read, and how long it took"
    )


def _kind(kinds: Any, name: str, ask: Ask, words: str) -> argparse.ArgumentParser:
    """A subcommand with the arguments that all share."""
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=words, description=f"Shows {words}.")
    parser.set_defaults(ask=ask)
    parser.add_argument("--url", default=DEFAULT_URL, help=f"where the server is (default {DEFAULT_URL})")
    parser.add_argument("--tenant", default="", help="tenant, if the server has multitenancy enabled")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the token, if the server requires one"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: the server's JSON")
    parser.add_argument("--since", type=duration_s, metavar="1h", help="start this long before --end, or before now")
    parser.add_argument("--start", type=moment_s, metavar="TIME", help="start of the time range")
    parser.add_argument("--end", type=moment_s, metavar="TIME", help="end of the time range (default: now)")
    return parser


def _times(options: argparse.Namespace) -> dict[str, int | None]:
    """`start` and `end` in unix seconds; None if not given."""
    start_s, end_s = options.start, options.end
    if options.since is not None:
        # The server's end is exclusive and in whole seconds: what came in this one belongs to it.
        end_s = int(time.time()) + 1 if end_s is None else end_s
        start_s = max(1, end_s - options.since) if start_s is None else start_s
    elif start_s is not None and end_s is None:
        end_s = max(int(time.time()), start_s) + 1
    return {"start": start_s, "end": end_s}


def _token(path: Path | None) -> str:
    try:
        return path.read_text().strip() if path else ""
    except (OSError, ValueError) as err:
        raise QueryError(f"--token-file {path} cannot be read: {getattr(err, 'strerror', None) or err}") from err


def _search(api: Api, options: argparse.Namespace) -> Answer:
    params = {"q": options.query, "limit": options.limit, "spss": options.spans, **_times(options)}
    params |= {"order": options.order, "total": "true" if options.total else None, "cursor": options.cursor}
    on_debug = _print_debug if options.debug else None
    if not options.all:
        return Answer(api.get("/api/search", params, on_debug), tables.search_table)

    def get(cursor: str) -> Any:
        return api.get("/api/search", {**params, "cursor": cursor or options.cursor or ""}, on_debug)

    return Answer(joined_traces(pages(get)), tables.search_table)


def _print_debug(text: str) -> None:
    """Prints the content of X-Stretto-Debug to stderr."""
    sys.stderr.write(json.dumps(json.loads(text), indent=2) + "\n")


def _trace(api: Api, options: argparse.Namespace) -> Answer:
    """Reads a trace in pages, so that its size does not matter; a server without pages returns it whole."""
    times = _times(options)
    body = joined_spans(
        pages(lambda cursor: api.get(f"/api/v2/traces/{options.trace_id}", {**times, "cursor": cursor}))
    )
    if not body.get("trace", {}).get("resourceSpans"):
        raise QueryError(f"no trace {options.trace_id}" + _incomplete(body))
    if body.get("status"):
        sys.stderr.write(f"stretto: this is not all of it{_incomplete(body)}\n")
    return Answer(body, lambda found: tables.trace_tree(found["trace"]))


def _incomplete(body: dict[str, Any]) -> str:
    return f": {tables.clean(body['message'])}" if body.get("message") else ""


def _metrics(api: Api, options: argparse.Namespace) -> Answer:
    params, on_debug = {"q": options.query, **_times(options)}, _print_debug if options.debug else None
    if options.instant:
        return Answer(api.get("/api/metrics/query", params, on_debug), tables.instant_table)
    return Answer(api.get("/api/metrics/query_range", {**params, "step": options.step}, on_debug), tables.range_table)


def _tags(api: Api, options: argparse.Namespace) -> Answer:
    params = {"q": options.query, "scope": options.scope, "limit": options.limit, **_times(options)}
    return Answer(api.get("/api/v2/search/tags", params), tables.tags_table)


def _values(api: Api, options: argparse.Namespace) -> Answer:
    params = {"q": options.query, "limit": options.limit, **_times(options)}
    return Answer(api.get(f"/api/v2/search/tag/{options.tag}/values", params), tables.values_table)
