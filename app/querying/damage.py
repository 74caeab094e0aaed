"""What an answer lacks: blocks that are damaged, partitions whose blocks are not known. No answer is silently less."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from app.api.errors import Unavailable
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.damage import Damage
from tables.catalog.place import Place
from tables.catalog.snapshot import BlockSnapshot
from tables.catalog.time_range import overlaps
from tables.errors import DamagedError
from tables.wire.split import SEVERAL, partition_of

T = TypeVar("T")

# Somebody has to repair it: asking every second does not help.
_RETRY_AFTER_S: Final = 30.0
_HINT: Final = "; with allow_partial=true the answer is what can be read"
# Of thousands of damaged blocks an answer names the first.
_NAMED_MAX: Final = 5


class MissingData:
    """Collects what the answer to one query lacks.

    texts: gets a line for each thing that is missing; None: the client wants all or nothing
    """

    def __init__(self, texts: list[str] | None) -> None:
        self._texts = texts
        self._damaged = 0
        if texts is not None:
            texts.clear()

    def add(self, text: str, retry_after_s: float = 1.0) -> None:
        """Raises: Unavailable where it must not be lacking"""
        if self._texts is None:
            raise Unavailable(text + _HINT, retry_after_s)
        if text not in self._texts:  # of several tenants
            self._texts.append(text)

    def add_damage(self, text: str) -> None:
        """As `add`, of a block or its partition."""
        self._damaged += 1
        if self._damaged <= _NAMED_MAX:
            self.add(text, _RETRY_AFTER_S)
        elif self._damaged == _NAMED_MAX + 1:
            self.add("more blocks cannot be read; the server's log names them", _RETRY_AFTER_S)


def missing_in_range(snapshot: BlockSnapshot, start_ns: int | None, end_ns: int | None) -> list[str]:
    """What a query over the time range lacks. start_ns, end_ns: None: open"""
    found = [_unknown(place) for place in sorted(snapshot.problems)]
    return found + [damage_text(damage) for damage in _by_key(snapshot) if _overlaps(damage, start_ns, end_ns)]


def missing_of_trace(
    blocks: BlockList,
    snapshot: BlockSnapshot,
    trace_id: bytes,
    partitions: int,
    within: tuple[int | None, int | None],
) -> list[str]:
    """What a trace lacks. partitions: how many the topic has. within: as for `missing_in_range`"""
    found = [
        _unknown(place)
        for place in sorted(snapshot.problems)
        if _may_be_in(place[1], trace_id, _partition_counts(blocks, place[0], partitions))
    ]
    for damage in _by_key(snapshot):
        meta = damage.meta
        counts = {meta.partition_count} if meta else _partition_counts(blocks, damage.cluster_id, partitions)
        if _overlaps(damage, *within) and _may_be_in(damage.partition, trace_id, counts):
            found.append(damage_text(damage))
    return found


def _may_be_in(partition: int, trace_id: bytes, counts: set[int]) -> bool:
    """counts: how many partitions the topic may have had; none: not known"""
    return not counts or SEVERAL in counts or partition in {partition_of(trace_id, count) for count in counts}


def past_damage(
    blocks: BlockList, metas: Sequence[BlockMeta], run: Callable[[Sequence[BlockMeta]], T], missing_data: MissingData
) -> T:
    """`run` over the blocks, and again without those that it finds damaged. On a thread: looks at the storage.

    Raises: Unavailable as `MissingData.add`; OutdatedError where a block was replaced; StorageError
    """
    left = list(metas)
    while True:
        try:
            with blocks.reading_ahead():
                return run(left)
        except DamagedError as err:
            if blocks.reads_again(err):
                continue
            damage = blocks.found_damaged(err)
            if damage is None or not any(meta.block_id == damage.block_id for meta in left):
                raise
            missing_data.add_damage(damage_text(damage))
            left = [meta for meta in left if meta.block_id != damage.block_id]


def damage_text(damage: Damage) -> str:
    """What the tenant of the block is told of its damage."""
    return f"block {damage.block_id} cannot be read: {damage.problem}"


def _unknown(place: Place) -> str:
    return (
        f"not all blocks of partition {place[1]} are known: an object that names them is damaged; "
        "the server's log says which"
    )


def _by_key(snapshot: BlockSnapshot) -> list[Damage]:
    return sorted(snapshot.damaged, key=lambda damage: damage.key)


def _overlaps(damage: Damage, start_ns: int | None, end_ns: int | None) -> bool:
    return damage.meta is None or overlaps(damage.meta, start_ns, end_ns)


def _partition_counts(blocks: BlockList, cluster_id: str, now: int) -> set[int]:
    """How many partitions the topic of the cluster may have had; none: not known."""
    known = blocks.partition_counts(cluster_id)
    return known | {now} if cluster_id == blocks.cluster_id else known
