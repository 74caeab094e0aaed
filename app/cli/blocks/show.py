"""`stretto blocks show`: one block: its meta, its files, and what its columns take."""

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import orjson
import pyarrow.parquet as pq

from app.cli.blocks.listing import Listed, shown_bytes, visible_blocks
from app.cli.blocks.storage import BlocksError, chosen_storage, read_blocks, storage_arguments
from app.cli.query.tables import table
from app.cli.query.times import shown_time
from app.settings import Settings
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.errors import StorageError
from tables.parquet.decode_errors import reading
from tables.parquet.footer_guard import read_guarded
from tables.schema import parse_attribute_column
from tables.storage.object_store import ObjectStore, RangeFile

_SHOWN: Final = 30


@dataclass(slots=True)
class Column:
    """A column over all files of a block. stored_bytes: as it lies there; plain_bytes: before compression"""

    name: str
    files: int = 0
    values: int = 0
    stored_bytes: int = 0
    plain_bytes: int = 0
    encodings: list[str] = field(default_factory=list)
    compressions: list[str] = field(default_factory=list)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.description = (
        "Show a block: its meta, its files, and its columns with encodings and sizes, the largest first. Reads the "
        "footers of its files."
    )
    parser.add_argument("block", help="block id, or the beginning of one")
    parser.add_argument("--tenant", help="tenant of the block (default: any)")
    parser.add_argument("--attributes", action="store_true", help="only columns of attributes")
    parser.add_argument("--all", action="store_true", help=f"all columns and files (default: the first {_SHOWN})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    storage_arguments(parser)


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Prints to stdout. Raises: BlocksError, SettingsError"""
    config = chosen_storage(args, settings)
    try:
        blocks = read_blocks(config)
        shown = _chosen(blocks, args.block, args.tenant)
        columns = block_columns(blocks.store, shown.meta)
    except StorageError as err:
        raise BlocksError(str(err)) from err
    if args.attributes:
        columns = [one for one in columns if one.name == "overflow" or parse_attribute_column(one.name) is not None]
    if args.json:
        facts = {"meta": shown.meta.model_dump(), "named_by": shown.place, "columns": [asdict(one) for one in columns]}
        sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.flush()
        return 0
    most = None if args.all else _SHOWN
    sys.stdout.write("".join([_meta_table(shown), "\n", _files_table(shown.meta, most), "\n"]))
    sys.stdout.write(_columns_table(columns[:most], shown.meta.size_bytes))
    if len(columns) > len(columns[:most]):
        sys.stdout.write(f"and {len(columns) - _SHOWN} smaller columns: --all shows them\n")
    return 0


def _chosen(blocks: BlockList, name: str, tenant: str | None) -> Listed:
    found = [one for one in visible_blocks(blocks, tenant) if one.meta.block_id.startswith(name)]
    if not found:
        raise BlocksError(f"no visible block has an id that begins with {name}: `stretto blocks list` shows them")
    if len(found) > 1:
        ids = ", ".join(one.meta.block_id for one in found[:3])
        raise BlocksError(f"{len(found)} blocks have ids that begin with {name}: {ids} …")
    return found[0]


def block_columns(store: ObjectStore, meta: BlockMeta) -> list[Column]:
    """The columns of all files, the largest first. Raises: DamagedError, StorageError"""
    found: dict[str, Column] = {}
    for file in meta.files:
        path = meta.path_of(file)
        with reading(path, "cannot be opened"):
            _add(found, read_guarded(path, RangeFile(partial(store.get_ranges, path), file.size_bytes)))
    for column in found.values():
        column.encodings, column.compressions = sorted(set(column.encodings)), sorted(set(column.compressions))
    return sorted(found.values(), key=lambda column: (-column.stored_bytes, column.name))


def _add(found: dict[str, Column], footer: pq.FileMetaData) -> None:
    # Names of attributes have dots in them: the name of a list is what stands before the path of its items.
    for number in range(footer.num_row_groups):
        group, seen = footer.row_group(number), set[str]()
        for leaf in range(group.num_columns):
            chunk = group.column(leaf)
            name = chunk.path_in_schema.partition(".list.element")[0]
            column = found.setdefault(name, Column(name))
            column.files += name not in seen
            seen.add(name)
            column.values += chunk.num_values
            column.stored_bytes += chunk.total_compressed_size
            column.plain_bytes += chunk.total_uncompressed_size
            column.encodings += chunk.encodings
            column.compressions.append(chunk.compression)


def _meta_table(shown: Listed) -> str:
    meta = shown.meta
    rows: Iterable[tuple[str, Any]] = (
        ("block", meta.block_id),
        ("tenant", meta.tenant),
        ("Kafka cluster", meta.cluster_id),
        ("partition", f"{meta.partition} of {meta.partition_count or 'several numbers'}"),
        ("offsets", f"{meta.first_offset} to {meta.last_offset}"),
        ("level", meta.level),
        ("replaces", f"{len(meta.replaces)} blocks"),
        ("named by", shown.place),
        ("spans", meta.spans),
        ("start (UTC)", shown_time(meta.start_min_ns)),
        ("end (UTC)", shown_time(meta.end_max_ns)),
        ("bytes", f"{shown_bytes(meta.size_bytes)}, {meta.size_bytes / max(meta.spans, 1):.1f} a span"),
        ("filters", shown_bytes(meta.bloom_bytes)),
        ("redactions", ", ".join(meta.redactions) or "none"),
    )
    return table(("FACT", "VALUE"), ((name, str(value)) for name, value in rows))


def _files_table(meta: BlockMeta, most: int | None) -> str:
    return table(
        ("FILE", "SPANS", "BYTES", "START (UTC)", "END (UTC)", "FIRST TRACE", "LAST TRACE"),
        (
            (
                file.name,
                str(file.spans),
                shown_bytes(file.size_bytes),
                shown_time(file.start_min_ns),
                shown_time(file.end_max_ns),
                file.trace_id_min,
                file.trace_id_max,
            )
            for file in meta.files[:most]
        ),
    )


def _columns_table(columns: Iterable[Column], size_bytes: int) -> str:
    return table(
        ("COLUMN", "FILES", "BYTES", "SHARE", "UNCOMPRESSED", "COMPRESSION", "ENCODINGS"),
        (
            (
                one.name,
                str(one.files),
                shown_bytes(one.stored_bytes),
                f"{one.stored_bytes / max(size_bytes, 1):.1%}",
                shown_bytes(one.plain_bytes),
                " ".join(one.compressions),
                " ".join(one.encodings),
            )
            for one in columns
        ),
    )
