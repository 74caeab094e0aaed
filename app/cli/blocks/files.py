"""`stretto blocks files`: the Parquet files that are visible now, for other tools that read them."""

import argparse
import sys
from collections.abc import Callable, Iterator

import orjson

from app.cli.blocks.storage import BlocksError, chosen_storage, read_blocks, storage_arguments
from app.cli.query.times import moment_s
from app.net.tenant import SINGLE_TENANT
from app.settings import Settings
from tables.blocks.meta import FileMeta
from tables.catalog.snapshot import BlockSnapshot
from tables.errors import StorageError
from tables.storage.object_store import StorageConfig
from tables.storage.urls import object_url
from tables.units import NS_PER_S


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.description = (
        "Print the Parquet files of a tenant's visible blocks: each span is in exactly one of them. Spans of the last "
        "minutes are not in blocks yet. Files that compaction replaces stay for "
        "compactor.compaction.compacted_block_retention: read them within that time."
    )
    parser.add_argument("--tenant", default=SINGLE_TENANT, help=f"tenant (default: {SINGLE_TENANT})")
    parser.add_argument(
        "--since", type=moment_s, metavar="TIME", help="only files with spans that end at this time or later, as now-1h"
    )
    parser.add_argument(
        "--until", type=moment_s, metavar="TIME", help="only files with spans that start before this time"
    )
    parser.add_argument(
        "--format",
        choices=("urls", "sql", "json"),
        default="urls",
        help="urls: one a line (default); sql: a view for DuckDB; json: an object a line, with times, spans and bytes",
    )
    parser.add_argument("--view", default="spans", help="name of the view of --format sql (default: spans)")
    storage_arguments(parser)


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Prints to stdout; names damaged blocks on stderr, and then returns 1. Raises: BlocksError, SettingsError"""
    config = chosen_storage(args, settings)
    try:
        snapshot = read_blocks(config).snapshot(args.tenant)
    except StorageError as err:
        raise BlocksError(str(err)) from err
    found = list(_files(config, snapshot, args))
    if args.format == "sql" and not found:
        raise BlocksError(f"tenant {args.tenant} has no visible blocks in this time: a view needs at least one file")
    sys.stdout.write("".join(f"{line}\n" for line in _lines(found, args)))
    problems = [
        f"left out, cannot be read: {damage.tenant}/{damage.block_id}: {damage.problem}" for damage in snapshot.damaged
    ]
    problems += [f"partition {number}: {problem}" for number, problem in sorted(snapshot.problems.items())]
    sys.stderr.write("".join(f"stretto: {problem}\n" for problem in problems))
    return 1 if problems else 0


def _files(config: StorageConfig, snapshot: BlockSnapshot, args: argparse.Namespace) -> Iterator[tuple[str, FileMeta]]:
    for meta in sorted(snapshot.blocks, key=lambda meta: (meta.start_min_ns, meta.block_id)):
        for file in meta.files:
            too_old = args.since is not None and file.end_max_ns < args.since * NS_PER_S
            too_new = args.until is not None and file.start_min_ns >= args.until * NS_PER_S
            if not too_old and not too_new:
                yield object_url(config, meta.path_of(file)), file


def _lines(found: list[tuple[str, FileMeta]], args: argparse.Namespace) -> Iterator[str]:
    match args.format:
        case "urls":
            yield from (url for url, _ in found)
        case "json":
            for url, file in found:
                facts = {name: getattr(file, name) for name in ("spans", "size_bytes", "start_min_ns", "end_max_ns")}
                yield orjson.dumps({"url": url, **facts}).decode()
        case _:
            quote, name = "'", args.view.replace('"', '""')
            yield f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM read_parquet(['  # noqa: S608 quoted
            for number, (url, _) in enumerate(found):
                comma = "," if number < len(found) - 1 else ""
                yield f"  '{url.replace(quote, quote * 2)}'{comma}"
            yield "], union_by_name = true);"
