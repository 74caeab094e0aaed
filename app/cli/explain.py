"""`stretto explain`: how a query runs and, with blocks, what it read and how long it took."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from app.errors import StrettoError
from app.net.tenant import SINGLE_TENANT
from app.process.storage import storage_config
from app.settings import Settings
from query.errors import TraceQLError
from query.explain import explain, is_metrics, lines
from query.metrics.metrics import metrics_instant
from query.requests import InstantRequest, SearchRequest
from query.scan.profile import Profile
from query.scan.progress import QueryObserver
from query.search.search import search
from tables.catalog.block_list import BlockList
from tables.catalog.damage import damage_lines
from tables.errors import StorageError
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig

_CACHE_BYTES_MAX: Final = 1 << 28
_MB: Final = 1e6


class ExplainError(StrettoError):
    """The query or the folder is wrong: what, and what to do."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.add_argument("query", help="TraceQL, in quotes")
    parser.add_argument(
        "--blocks",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="also run it over all blocks of this folder (which contains a folder `blocks`); without FOLDER: over "
        "the storage that the settings name",
    )
    parser.add_argument("--tenant", default=SINGLE_TENANT, help=f"tenant of the blocks (default: {SINGLE_TENANT})")
    parser.add_argument("--limit", type=int, default=20, help="number of traces in a search's answer (default: 20)")


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Prints to stdout. It loads settings only if it reads their storage. Raises: ExplainError, SettingsError"""
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines(explain(args.query))))
        if args.blocks is not None:
            config = _folder(args.blocks) if args.blocks else storage_config(settings().storage.trace)
            sys.stdout.write("".join(f"{line}\n" for line in _run(args, config)))
    except (TraceQLError, StorageError) as err:
        raise ExplainError(str(err)) from err
    return 0


def _folder(name: str) -> StorageConfig:
    """An existing folder: a mistyped name must not create one."""
    folder = Path(name)
    if not (folder / "blocks").is_dir():
        raise ExplainError(f"{name} has no folder `blocks`: give the folder that storage.trace.local.path names")
    return StorageConfig("local", str(folder))


def _run(args: argparse.Namespace, config: StorageConfig) -> Iterator[str]:
    """Runs the query twice: with an empty cache, and with what the first run left there."""
    sources, damaged = _sources(config, args.tenant)
    yield ""
    for damage in damaged:
        yield f"cannot be read: {damage}"
    yield f"{len(sources)} row groups of tenant {args.tenant}, {sum(source.rows for source in sources)} spans"
    if not sources:
        return
    for name in ("first run", "again"):
        profile, started_s = Profile(), time.perf_counter()
        found = _ask(sources, args, profile)
        yield ""
        yield f"{name:13} {found}, {(time.perf_counter() - started_s) * 1e3:.1f} ms"
        yield from profile_lines(profile)


def _sources(config: StorageConfig, tenant: str) -> tuple[list[Any], list[str]]:
    blocks = BlockList(ObjectStore(config), "", ByteCache("explain", _CACHE_BYTES_MAX))
    blocks.poll([])
    snapshot = blocks.snapshot(tenant)
    problems = [*damage_lines(snapshot.damaged), *snapshot.problems.values()]
    return [source for meta in snapshot.blocks for source in blocks.sources(meta)], problems


def _ask(sources: list[Any], args: argparse.Namespace, profile: Profile) -> str:
    if not is_metrics(args.query):
        request = SearchRequest(query=args.query, limit=args.limit)
        return f"{len(search(sources, request, observer=QueryObserver(profile=profile)).traces)} traces"
    times = [bounds for source in sources if (bounds := source.bounds("start_ns"))]
    first_ns, end_ns = min((low for low, _ in times), default=0), max((high for _, high in times), default=0)
    # A range does not hold its own start.
    result = metrics_instant(
        sources,
        InstantRequest(query=args.query, start_ns=first_ns - 1, end_ns=end_ns),
        observer=QueryObserver(profile=profile),
    )
    return f"{len(result.series)} series over the whole time"


def profile_lines(profile: Profile) -> Iterator[str]:
    """A profile as lines of text."""
    yield f"row groups    {profile.outside} outside of the time range, {profile.decided} decided without a column"
    if profile.unneeded:
        yield f"              {profile.unneeded} older than all that the answer holds"
    together = ", one of them of traces that lay in several" if profile.stitched else ""
    yield f"              {profile.scanned} scanned, {profile.rows} rows{together}"
    yield f"read          {profile.bytes / _MB:.2f} MB, decoded"
    for column, count in profile.columns.items():
        yield f"  {column}, of {count} row groups"
    yield "time"
    for stage, seconds in profile.stages.items():
        yield f"  {stage:20}{seconds * 1e3:8.1f} ms"
