"""`stretto blocks check`: compares all objects with what was written, and repairs what can be made anew."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from app.cli.blocks.listing import shown_bytes
from app.cli.blocks.storage import BlocksError, chosen_storage, read_blocks, storage_arguments
from app.settings import Settings
from tables.catalog.block_list import BlockList
from tables.catalog.check import Checked, Finding, check_bucket, cut_ranges
from tables.catalog.redaction_objects import read_redactions
from tables.catalog.repair import Repair
from tables.errors import StorageError
from tables.redaction.rules import Redaction

_WARNINGS_SHOWN: Final = 50


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to a parser."""
    parser.description = (
        "Check all objects of the storage: checksums of cuts, checkpoints, indexes, metas, filters and data files; "
        "rows; what names what; what is left over. Returns 1 if spans are missing or will be. Workers may run."
    )
    parser.add_argument("--tenant", help="only indexes and blocks of this tenant (default: all)")
    parser.add_argument("--quick", action="store_true", help="do not read data files, only compare their sizes")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="write anew what can be made anew: indexes, from metas and cuts; metas; filters. Then check again",
    )
    parser.add_argument(
        "--drop-missing",
        action="store_true",
        help="with --repair: stop showing blocks of which data is lost, so that answers are not partial any more",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    storage_arguments(parser)


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Prints what is wrong, a line each. Raises: BlocksError, SettingsError"""
    if args.drop_missing and not args.repair:
        raise BlocksError("--drop-missing needs --repair")
    config, repaired = chosen_storage(args, settings), list[str]()
    try:
        blocks = read_blocks(config)
        checked, findings = _check(args, blocks)
        if args.repair and findings:
            repaired = list(
                Repair(blocks, cut_ranges(blocks.store), _redactions(blocks)).run(
                    findings, drop_missing=args.drop_missing
                )
            )
            checked, findings = _check(args, read_blocks(config))
    except StorageError as err:
        raise BlocksError(str(err)) from err
    _print(args, checked, findings, repaired)
    return int(any(one.severity == "error" for one in findings))


def _check(args: argparse.Namespace, blocks: BlockList) -> tuple[Checked, list[Finding]]:
    checked, quiet = Checked(), not sys.stderr.isatty()

    def progress(what: str) -> None:
        if not quiet:
            sys.stderr.write(f"\r\x1b[K{what}")

    tenants = None if args.tenant is None else [args.tenant]
    findings = list(check_bucket(blocks, tenants, data=not args.quick, checked=checked, progress=progress))
    if not quiet:
        sys.stderr.write("\r\x1b[K")
    return checked, findings


def _redactions(blocks: BlockList) -> Callable[[str], Sequence[Redaction]]:
    return lambda tenant: list(read_redactions(blocks.store, tenant))


def _print(args: argparse.Namespace, checked: Checked, findings: Sequence[Finding], repaired: Sequence[str]) -> None:
    if args.json:
        facts = {
            "checked": {**checked.objects, "bytes": checked.bytes, "spans": checked.spans},
            "repaired": list(repaired),
            "findings": [one._asdict() for one in findings],
        }
        sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.flush()
        return
    for text in repaired:
        sys.stdout.write(f"repair: {text}\n")
    shown = [one for one in findings if one.severity == "error"]
    warnings = [one for one in findings if one.severity == "warning"]
    for one in [*shown, *warnings[:_WARNINGS_SHOWN]]:
        sys.stdout.write(f"{one.severity}: {one.path} {one.problem}\n")
    if (more := len(warnings) - _WARNINGS_SHOWN) > 0:
        sys.stdout.write(f"and {more} more warnings: --json has them all\n")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(checked.objects.items())) or "nothing"
    size = shown_bytes(checked.bytes)
    sys.stdout.write(
        f"checked {counts}; {checked.spans} spans, {size}: {len(shown)} errors, {len(warnings)} warnings\n"
    )
    if not args.repair and any(one.repair for one in findings):
        sys.stdout.write(
            "--repair writes anew what can be made anew; a data file that is lost comes from a backup only\n"
        )
