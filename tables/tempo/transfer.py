"""Imports the blocks of a plan, one after the other."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tables.errors import DamagedError
from tables.storage.object_store import ObjectStore
from tables.tempo.bucket import TempoBlock
from tables.tempo.convert import ConvertedBlock, convert
from tables.tempo.ledger import Ledger
from tables.tempo.limits import TimeLimits
from tables.tempo.plan import TransferPlan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Transferred:
    """A block's end. added: it is visible now; False: somebody else was first; error: why it was not imported"""

    block: TempoBlock
    done: ConvertedBlock
    added: bool = False
    error: DamagedError | None = None


def transfer(  # noqa: PLR0913
    source: ObjectStore,
    plan: TransferPlan,
    ledger: Ledger,
    attribute_columns_max: int,
    limits: TimeLimits,
    progress: Callable[[int], None] = lambda _: None,
    jobs: int = 1,
) -> Iterator[Transferred]:
    """Imports each block, and yields what became of it. A damaged block is left out, the others are imported.

    source: Tempo's bucket; progress: called with numbers of spans that were read; jobs: blocks at the same time
    Raises: StorageError if a storage is away. What is imported by then stays, and the rest can be imported later
    """

    def one(block: TempoBlock) -> Transferred:
        try:
            done = convert(source, ledger.store, block, ledger.tenant, attribute_columns_max, limits, progress)
        except DamagedError as err:
            log.error("block %s of Tempo is not imported: %s", block.folder, err)
            return Transferred(block, ConvertedBlock(), error=err)
        return Transferred(block, done, ledger.add(block, done.meta, limits))

    for block in plan.unnoted:
        ledger.note(block, limits)
    if jobs == 1:
        yield from map(one, plan.blocks)
    else:
        pool = ThreadPoolExecutor(jobs, "tempo-import")
        try:
            yield from pool.map(one, plan.blocks)
        finally:
            pool.shutdown(cancel_futures=True)
    ledger.tidy()
