"""The command: arguments, then one tenant after the other."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from app.cli.imports.errors import ImportFailed
from app.cli.imports.progress import ProgressLine, shown_bytes
from app.cli.imports.source import source_config
from app.cli.query.times import moment_s
from app.process.storage import storage_config
from app.settings import Settings
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore
from tables.tempo.bucket import TempoBlocks, tenant_blocks, tenants
from tables.tempo.ledger import Ledger
from tables.tempo.limits import EVERYTHING, TimeLimits
from tables.tempo.plan import ANY_FACTOR, TransferPlan, plan_tenant
from tables.tempo.transfer import Transferred, transfer
from tables.tenant import valid_tenant
from tables.units import NS_PER_S

_FACTORS: Final = {"1": 1, "3": 3, "all": ANY_FACTOR}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `stretto import` to a parser."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    tempo = kinds.add_parser(
        "tempo",
        help="blocks of Grafana Tempo, vParquet4 and vParquet5",
        description="Reads the blocks of Grafana Tempo (vParquet4, vParquet5) and writes them to the storage that the "
        "settings name. Blocks that were imported before are skipped: run it again after an interruption.",
    )
    tempo.add_argument(
        "bucket", help="Tempo's bucket: a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    )
    tempo.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="settings file whose storage.trace says how to reach Tempo's bucket (default: as our own storage)",
    )
    tempo.add_argument("--tenant", help="import only this tenant of Tempo (default: all of them)")
    tempo.add_argument("--to-tenant", help="tenant here (default: of the same name); needs --tenant")
    tempo.add_argument("--since", type=moment_s, metavar="TIME", help="import spans that start at that time or later")
    tempo.add_argument("--until", type=moment_s, metavar="TIME", help="import spans that start before that time")
    tempo.add_argument(
        "--replication-factor",
        choices=tuple(_FACTORS),
        help="which blocks, where a tenant has several kinds: 3, of ingesters; 1, of Tempo 3 and of the metrics "
        "generator; all",
    )
    tempo.add_argument(
        "--allow-compacted",
        action="store_true",
        help="also import blocks that may be made of blocks which were imported before",
    )
    tempo.add_argument("--jobs", type=int, default=1, metavar="N", help="blocks at the same time (default: 1)")
    tempo.add_argument("--dry-run", action="store_true", help="only say what would be imported")


def main(args: argparse.Namespace, settings: Callable[[], Settings]) -> int:
    """Imports, and prints how it goes. Raises: ImportFailed, also if a block could not be imported; SettingsError"""
    limits = _limits(args)
    if args.to_tenant and not args.tenant:
        raise ImportFailed("--to-tenant needs --tenant: several tenants cannot become one")
    trace = settings().storage.trace
    try:
        source = ObjectStore(source_config(args.bucket, args.settings, os.environ, Path.cwd()))
        target = ObjectStore(storage_config(trace))
        problems, tenants_seen = 0, 0
        for tenant in [args.tenant] if args.tenant else tenants(source):
            found = tenant_blocks(source, tenant)
            if not found.blocks and not found.unreadable:
                continue  # a folder of something else
            tenants_seen += 1
            columns_max = trace.block.attribute_columns_max
            problems += _tenant(args, source, found, Ledger(target, args.to_tenant or tenant), limits, columns_max)
        if not tenants_seen:
            raise ImportFailed(_nothing(args))
    except StorageError as err:
        raise ImportFailed(f"{err}. What is imported stays; run the command again to go on") from err
    if problems:
        raise ImportFailed(f"the import is not complete: {problems} problems, see above")
    return 0


def _limits(args: argparse.Namespace) -> TimeLimits:
    since_ns = EVERYTHING.since_ns if args.since is None else args.since * NS_PER_S
    until_ns = EVERYTHING.until_ns if args.until is None else args.until * NS_PER_S
    if since_ns >= until_ns:
        raise ImportFailed("--since is not before --until")
    return TimeLimits(since_ns, until_ns)


def _nothing(args: argparse.Namespace) -> str:
    of = f"of tenant {args.tenant} " if args.tenant else ""
    return (
        f"{args.bucket} has no blocks {of}of Tempo: there must be folders <tenant>/<block id> in it; is it the right "
        "place, with the right prefix?"
    )


def _tenant(
    args: argparse.Namespace,
    source: ObjectStore,
    found: TempoBlocks,
    ledger: Ledger,
    limits: TimeLimits,
    columns_max: int,
) -> int:
    """Imports a tenant. Out: the number of problems"""
    if not valid_tenant(ledger.tenant):
        raise ImportFailed(f"{ledger.tenant!r} is no name for a tenant here; give it one with --tenant and --to-tenant")
    factor = _FACTORS.get(args.replication_factor or "")
    plan = plan_tenant(found, ledger, limits, factor, allow_compacted=args.allow_compacted)
    for line in _lines(found.tenant, ledger.tenant, plan, len(found.compacted)):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    if args.dry_run or not (plan.blocks or plan.unnoted):
        return len(plan.problems)
    progress = ProgressLine(sys.stdout, ledger.tenant, len(plan.blocks), plan.size_bytes)
    blocks = transfer(source, plan, ledger, columns_max, limits, progress.read, max(1, args.jobs))
    return len(plan.problems) + _report(blocks, progress, ledger.tenant)


def _lines(tenant: str, to_tenant: str, plan: TransferPlan, compacted: int) -> list[str]:
    name = tenant if tenant == to_tenant else f"{tenant} → {to_tenant}"
    lines = [f"{name}: {_blocks(len(plan.blocks))} to import, {shown_bytes(plan.size_bytes)}"]
    others = {
        "imported before": plan.done,
        "outside of the time limits": plan.outside,
        "with another replication factor": plan.of_other_factor,
        "replaced by Tempo's compaction": compacted,
    }
    lines += [f"  {_blocks(count)} left out: {why}" for why, count in others.items() if count]
    return lines + [f"  problem: {problem}" for problem in plan.problems]


def _blocks(count: int) -> str:
    return f"{count} block" if count == 1 else f"{count} blocks"


def _report(blocks: Iterator[Transferred], progress: ProgressLine, tenant: str) -> int:
    """Prints what becomes of the blocks. Out: the number of those that were not imported"""
    errors = spans = traces = left_out = repeated = odd_ids = 0
    try:
        for one in blocks:
            progress.block(one.block.meta.size_bytes)
            if one.error is not None:
                errors += 1
                progress.say(f"  problem: {one.error}")
            if one.added:
                traces += one.done.traces
                spans += one.done.spans
                left_out += one.done.spans_read - one.done.spans_wanted
                repeated += one.done.repeated
                odd_ids += one.done.odd_ids
    finally:
        progress.close()
    sys.stdout.write(f"{tenant}: imported {spans:,} spans of {traces:,} traces\n")
    if left_out:
        sys.stdout.write(f"  {left_out:,} spans of these blocks left out: outside of the time limits\n")
    if repeated:
        sys.stdout.write(f"  {repeated:,} spans left out: others equal them in every field\n")
    if odd_ids:
        sys.stdout.write(f"  {odd_ids:,} ids had another length than OTLP's: padded or cut\n")
    return errors
