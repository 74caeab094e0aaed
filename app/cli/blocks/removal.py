"""What `drop-trace` and `redact` have in common."""

import argparse
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Final

import orjson

from app.cli.blocks.storage import BlocksError, chosen_storage, read_blocks, storage_arguments
from app.net.tenant import SINGLE_TENANT
from app.settings import Settings
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.index_store import IndexStore
from tables.catalog.redactor import RedactionReport, Redactor
from tables.errors import StorageError
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache

_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}")
_READS_AT_ONCE: Final = 16
_BLOOM_CACHE_BYTES: Final = 1 << 26
# After the last span that Kafka may still hold: for clocks that differ, and for the flush.
_KEPT_LONGER_S: Final = 3600.0


def removal_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of both commands."""
    parser.add_argument("--tenant", default=SINGLE_TENANT, help=f"tenant (default: {SINGLE_TENANT})")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait until no reader needs the replaced blocks, two polls, then delete them and look once more; "
        "without it compactors delete them after compactor.compaction.compacted_block_retention",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    storage_arguments(parser)


def trace_id_of(text: str) -> str:
    """A trace id as 32 hex digits. Raises: BlocksError"""
    if _TRACE_ID.fullmatch(text) is None or not int(text, 16):
        raise BlocksError(f"{text!r} is not a trace id: expected 1 to 32 hex digits, not all of them 0")
    return text.lower().rjust(32, "0")


def remove(args: argparse.Namespace, settings: Callable[[], Settings], wanted: Redaction) -> int:
    """Puts the redaction in force, applies it to all blocks, and prints what was done. Returns the exit status: 1 if
    blocks are left that cannot be read. Raises: BlocksError, SettingsError
    """
    config, known = chosen_storage(args, settings), settings()
    kept_s = known.kafka.retention_s + _KEPT_LONGER_S
    wanted = wanted.model_copy(update={"created_s": time.time(), "kept_until_s": time.time() + kept_s})
    try:
        blocks = read_blocks(config)
        if args.tenant not in blocks.tenants():
            names = ", ".join(sorted(blocks.tenants())[:10]) or "none"
            raise BlocksError(
                f"tenant {args.tenant} has no blocks (a new tenant's first is written after live_store.block_age_s); "
                f"tenants that have some: {names}"
            )
        with ThreadPoolExecutor(_READS_AT_ONCE, "filters") as pool:
            filters = TraceFilters(pool, ByteCache("bloom", _BLOOM_CACHE_BYTES))
            redactor = Redactor(blocks, IndexStore(blocks.store), filters)
            redactor.put_in_force(args.tenant, wanted)
            report = redactor.run(args.tenant)
            if args.wait:
                _finish(redactor, args.tenant, report, 2 * known.storage.trace.blocklist_poll_s)
    except StorageError as err:
        raise BlocksError(f"{err}; what is done is done: run the same command again") from err
    _print(args, wanted, report, kept_s)
    return 0 if report.done else 1


def _finish(redactor: Redactor, tenant: str, report: RedactionReport, wait_s: float) -> None:
    """Deletes what readers do not need any more, and redacts what was flushed by workers that did not know yet."""
    sys.stderr.write(f"stretto: waiting {wait_s:g} s for readers of the replaced blocks\n")
    time.sleep(wait_s)
    again = redactor.run(tenant)
    report.add(again)
    redactor.delete_replaced(tenant, report.replaced)
    if again.replaced:
        time.sleep(wait_s)
        redactor.delete_replaced(tenant, again.replaced)


def _print(args: argparse.Namespace, wanted: Redaction, report: RedactionReport, kept_s: float) -> None:
    left = 0 if args.wait else len(report.replaced)
    if args.json:
        facts = {"redaction": wanted.id, **asdict(report), "replaced_left": left}
        sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.flush()
    else:
        lines = [
            f"{wanted}, tenant {args.tenant}: in force",
            f"{report.blocks} blocks are written anew, {report.removed} removed whole, {report.untouched} had nothing",
            f"{report.spans} spans are removed",
        ]
        if left:
            lines.append(f"{left} replaced blocks still exist: --wait deletes them, or a compactor later")
        lines.append(
            "what is not in blocks yet is hidden from the next poll on, and left out of blocks for "
            f"{kept_s / 3600:g} h; Kafka keeps its own copy for kafka.retention_s"
        )
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    for key, problem in sorted(report.failed.items()):
        sys.stderr.write(f"stretto: block {key} may still have it, and cannot be read: {problem}\n")
