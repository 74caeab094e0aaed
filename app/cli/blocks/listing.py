"""`stretto blocks list`: the visible blocks of tenants, and how many there are of each level."""

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import orjson

from app.cli.blocks.storage import BlocksError, chosen_storage, read_blocks, storage_arguments
from app.cli.query.tables import table
from app.cli.query.times import moment_s, shown_time
from app.settings import Settings
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.errors import StorageError
from tables.units import NS_PER_S

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class Listed(NamedTuple):
    """A visible block. place: where it is named: in the tenant's `index`, or only in a `cut`"""

    meta: BlockMeta
    place: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.description = (
        "List the visible blocks: those of each tenant's index, and those that cuts name and no index has yet. "
        "Level 0: as flushed; a merged block is one level above those that it replaces."
    )
    parser.add_argument("--tenant", help="only of this tenant (default: all)")
    parser.add_argument(
        "--since", type=moment_s, metavar="TIME", help="only blocks with spans that end at this time or later"
    )
    parser.add_argument(
        "--until", type=moment_s, metavar="TIME", help="only blocks with spans that start before this time"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: all facts of each block, and the sums")
    storage_arguments(parser)


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Prints to stdout; problems go to stderr, and then it returns 1. Raises: BlocksError, SettingsError"""
    config = chosen_storage(args, settings)
    try:
        blocks = read_blocks(config)
        found = visible_blocks(blocks, args.tenant, args.since, args.until)
    except StorageError as err:
        raise BlocksError(str(err)) from err
    if args.json:
        facts = {"blocks": [_facts(one) for one in found], "levels": _levels(found)}
        sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        sys.stdout.write(_blocks_table(found))
        sys.stdout.write("\n" + _levels_table(found))
    sys.stdout.flush()
    problems = [*map(str, blocks.damaged()), *blocks.problems()]
    sys.stderr.write("".join(f"stretto: {problem}\n" for problem in problems))
    return 1 if problems else 0


def visible_blocks(
    blocks: BlockList, tenant: str | None, since_s: int | None = None, until_s: int | None = None
) -> list[Listed]:
    """The visible blocks of one tenant or of all, by tenant, place and time. Times: Unix s; None: open"""
    found: list[Listed] = []
    for name in sorted(blocks.tenants()) if tenant is None else [tenant]:
        index = blocks.index(name)
        named = set() if index is None else set(index.table["block_id"].to_pylist())
        of_tenant = [
            Listed(meta, "index" if meta.block_id in named else "cut") for meta in blocks.snapshot(name).blocks
        ]
        of_tenant.sort(key=lambda one: (one.meta.cluster_id, one.meta.partition, one.meta.first_offset))
        found += of_tenant
    return [
        one
        for one in found
        if (since_s is None or one.meta.end_max_ns >= since_s * NS_PER_S)
        and (until_s is None or one.meta.start_min_ns < until_s * NS_PER_S)
    ]


def _facts(one: Listed) -> dict[str, Any]:
    return {**one.meta.model_dump(exclude={"files"}), "files": len(one.meta.files), "named_by": one.place}


def _blocks_table(found: Iterable[Listed]) -> str:
    return table(
        ("TENANT", "BLOCK", "PARTITION", "LEVEL", "START (UTC)", "END (UTC)", "SPANS", "BYTES", "FILES", "NAMED BY"),
        (
            (
                meta.tenant,
                meta.block_id,
                str(meta.partition),
                str(meta.level),
                shown_time(meta.start_min_ns),
                shown_time(meta.end_max_ns),
                str(meta.spans),
                shown_bytes(meta.size_bytes),
                str(len(meta.files)),
                place,
            )
            for meta, place in found
        ),
    )


def _levels(found: Iterable[Listed]) -> list[dict[str, Any]]:
    """The sums of each level, ascending."""
    sums: dict[int, dict[str, Any]] = {}
    for meta, _ in found:
        level = sums.setdefault(meta.level, {"level": meta.level, "blocks": 0, "files": 0, "spans": 0, "size_bytes": 0})
        level["blocks"] += 1
        level["files"] += len(meta.files)
        level["spans"] += meta.spans
        level["size_bytes"] += meta.size_bytes
    return [sums[level] for level in sorted(sums)]


def _levels_table(found: Iterable[Listed]) -> str:
    return table(
        ("LEVEL", "BLOCKS", "FILES", "SPANS", "BYTES", "BYTES/SPAN"),
        (
            (
                str(level["level"]),
                str(level["blocks"]),
                str(level["files"]),
                str(level["spans"]),
                shown_bytes(level["size_bytes"]),
                f"{level['size_bytes'] / max(level['spans'], 1):.1f}",
            )
            for level in _levels(found)
        ),
    )


def shown_bytes(size: int) -> str:
    """A size with three digits and a unit."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"
