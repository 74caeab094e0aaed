"""Which of a tenant's blocks in Tempo's bucket are to be imported, and why the others are not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tables.tempo.block_meta import VERSIONS
from tables.tempo.bucket import TempoBlock, TempoBlocks
from tables.tempo.ledger import Imported, Ledger
from tables.tempo.limits import TimeLimits

ANY_FACTOR: Final = -1
_INGESTERS: Final = 3


@dataclass(slots=True)
class TransferPlan:
    """blocks: to be imported, by time; problems: what keeps blocks from being imported, in whole sentences

    unnoted: blocks that an import made visible before it was killed
    done: number of blocks that were imported before; outside: of the time limits; of_other_factor: see `plan_tenant`
    """

    blocks: list[TempoBlock] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unnoted: list[TempoBlock] = field(default_factory=list)
    done: int = 0
    outside: int = 0
    of_other_factor: int = 0

    @property
    def size_bytes(self) -> int:
        """Of the blocks to be imported."""
        return sum(block.meta.size_bytes for block in self.blocks)


def plan_tenant(
    found: TempoBlocks, ledger: Ledger, limits: TimeLimits, factor: int | None = None, *, allow_compacted: bool = False
) -> TransferPlan:
    """In: a tenant's blocks in Tempo; what was imported to ours; the time range

    factor: 3 for blocks of ingesters, 1 for those of Tempo 3 and of the metrics generator, ANY_FACTOR for all; None:
        whichever the tenant has. If it has both, that is a problem: they may hold the same spans
    allow_compacted: whether to import blocks that Tempo may have made of imported ones
    Raises: DamagedError, StorageError
    """
    plan = TransferPlan(problems=[str(err) for err in found.unreadable])
    wanted = [block for block in found.blocks if limits.overlap(block.meta)]
    plan.outside = len(found.blocks) - len(wanted)
    factors = {_factor(block) for block in wanted}
    if factor is None and len(factors) > 1:
        plan.problems.append(_both(wanted))
        return plan
    if factor not in (None, ANY_FACTOR):
        kept = [block for block in wanted if _factor(block) == factor]
        plan.of_other_factor = len(wanted) - len(kept)
        wanted = kept
    plan.problems += _formats(wanted)
    evidence = ledger.known()
    known = evidence.all
    plan.unnoted = [block for block in wanted if block.id in evidence.marked]
    new = [block for block in wanted if block.id not in known]
    plan.done = len(wanted) - len(new)
    plan.blocks = [block for block in new if block.meta.version in VERSIONS]
    if not allow_compacted and any(block.meta.compaction_level for block in plan.blocks):
        gone = ledger.read(known - {block.id for block in found.blocks})
        _leave_out_compacted(plan, [one for one in gone if one.tempo_tenant == found.tenant])
    plan.problems += _other_limits(ledger.read(known & {block.id for block in wanted}), wanted, limits)
    return plan


def _factor(block: TempoBlock) -> int:
    return 1 if block.meta.replication_factor == 1 else _INGESTERS


def _both(blocks: Sequence[TempoBlock]) -> str:
    counts = Counter(_factor(block) for block in blocks)
    return (
        f"there are {counts[_INGESTERS]} blocks of ingesters (replication factor 3) and {counts[1]} with replication "
        "factor 1, from Tempo 3 or from the metrics generator, which may hold the same spans; choose with "
        "--replication-factor 3, 1 or all"
    )


def _formats(blocks: Sequence[TempoBlock]) -> list[str]:
    counts = Counter(block.meta.format for block in blocks if block.meta.version not in VERSIONS)
    return [
        f"blocks with the format {name}: {count}; this build reads only {' and '.join(VERSIONS)}"
        for name, count in sorted(counts.items())
    ]


def _leave_out_compacted(plan: TransferPlan, gone: Sequence[Imported]) -> None:
    """Leaves out blocks that may be made of imported ones, which Tempo has compacted since."""
    kept: list[TempoBlock] = []
    for block in plan.blocks:
        inputs = [one for one in gone if block.meta.start_ms <= one.start_ms and one.end_ms <= block.meta.end_ms]
        if block.meta.compaction_level == 0 or not inputs:
            kept.append(block)
            continue
        plan.problems.append(
            f"{block.folder} may be the result of compacting blocks that were imported before, such as "
            f"{inputs[0].tempo_block_id}: it was left out, because its spans would be there twice. Stop Tempo's "
            "compactor before the first import; with --allow-compacted the block is imported all the same"
        )
    plan.blocks = kept


def _other_limits(before: Sequence[Imported], blocks: Sequence[TempoBlock], limits: TimeLimits) -> list[str]:
    metas = {block.id: block.meta for block in blocks}
    found = []
    for one in before:
        whole = limits.hold(metas[one.tempo_block_id])
        now = (0, 0) if whole else (limits.since_ns, limits.until_ns)
        if (one.since_ns, one.until_ns) not in ((0, 0), now):
            found.append(
                f"{one.tempo_tenant}/{one.tempo_block_id} was imported in part, with other time limits, and is not "
                "imported again: what they left out is missing"
            )
    return found
