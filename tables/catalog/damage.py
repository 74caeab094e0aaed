"""Damage: blocks that a cut names and that cannot be read, with the reason and the time."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Gauge

from tables.blocks.meta import BlockMeta
from tables.storage.object_store import Stamp

log = logging.getLogger(__name__)

DAMAGED = Gauge(
    "stretto_blocks_damaged",
    "Blocks that are missing or damaged, by reason: meta (the block's meta.json), data (a data file).",
    ["reason"],
)
CUTS_DAMAGED = Gauge("stretto_cuts_damaged", "Partitions with a cut that is missing or damaged.")
# The log names this many blocks per change: a lost bucket has thousands.
_LOGGED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged block. meta: None if unknown

    stamps: of the files, by path, when the damage was found
    since_s: when the files were read last, looked_at_s: when their stamps were, by the monotonic clock
    """

    tenant: str
    block_id: str
    reason: str
    problem: str
    cluster_id: str
    partition: int
    meta: BlockMeta | None = None
    stamps: Mapping[str, Stamp | None] = field(default_factory=dict)
    since_s: float = 0.0
    looked_at_s: float = 0.0

    @property
    def key(self) -> str:
        """The block's name in cuts."""
        return f"{self.tenant}/{self.block_id}"

    def __str__(self) -> str:
        return f"block {self.block_id} of tenant {self.tenant}: {self.problem}"


def damage_lines(damages: Iterable[Damage], shown_max: int = 5) -> list[str]:
    """Text lines for /ready: the first blocks, and the number of all."""
    every = sorted(damages, key=lambda damage: damage.key)
    more = len(every) - shown_max
    return [str(damage) for damage in every[:shown_max]] + ([f"and {more} more blocks"] if more > 0 else [])


def report_change(before: Mapping[str, Damage], after: Mapping[str, Damage]) -> None:
    """Log and metric of a change."""
    fresh = [after[key] for key in sorted(after.keys() - before.keys())]
    whole = [before[key] for key in sorted(before.keys() - after.keys())]
    for damage in fresh[:_LOGGED_MAX]:
        log.error("damaged %s", damage)
    for damage in whole[:_LOGGED_MAX]:
        log.warning("block %s of tenant %s is whole again, or not needed any more", damage.block_id, damage.tenant)
    if (more := max(len(fresh), len(whole)) - _LOGGED_MAX) > 0:
        log.error("and %d more blocks, %d are damaged in all", more, len(after))
    counts = Counter(damage.reason for damage in after.values())
    for reason in ("meta", "data"):
        DAMAGED.labels(reason).set(counts[reason])
