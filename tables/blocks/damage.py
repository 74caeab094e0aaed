"""Blocks that a cut names and that cannot be read: which, why, and since when."""

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
    "Blocks that are missing or damaged. reason: meta (its meta.json), data (a file of it).",
    ["reason"],
)
CUTS_DAMAGED = Gauge("stretto_cuts_damaged", "Partitions with a cut that is missing or damaged.")
# Of one change so many are named in the log: a bucket that is lost has thousands.
_LOGGED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Damage:
    """One block. meta: None where it is not known. partition: None where no cut names it.

    readable: only the object meta.json is wrong; this process knows what it said, and reads the block all the same
    stamps: of the files, by path, when they were found damaged
    since_s: when it was looked at last, by the monotonic clock
    """

    tenant: str
    block_id: str
    reason: str
    problem: str
    cluster_id: str | None = None
    partition: int | None = None
    meta: BlockMeta | None = None
    readable: bool = False
    stamps: Mapping[str, Stamp | None] = field(default_factory=dict)
    since_s: float = 0.0

    @property
    def key(self) -> str:
        """As cuts name the block."""
        return f"{self.tenant}/{self.block_id}"

    def __str__(self) -> str:
        return f"block {self.block_id} of tenant {self.tenant}: {self.problem}"


def damage_lines(damages: Iterable[Damage], shown_max: int = 5) -> list[str]:
    """For people: the first of them, and how many there are."""
    every = sorted(damages, key=lambda damage: damage.key)
    more = len(every) - shown_max
    return [str(damage) for damage in every[:shown_max]] + ([f"and {more} more blocks"] if more > 0 else [])


def tell(before: Mapping[str, Damage], after: Mapping[str, Damage]) -> None:
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
