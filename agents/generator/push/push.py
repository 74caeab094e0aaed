"""A tenant's collection on its way to a target, and the merge of two of them.

Counters only grow. So a target that was away needs only the newest values, plus what happened meanwhile: the 0 with
which new series began, and the last values of series that have ended.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agents.generator.push.requests import encoded
from agents.generator.series.labels import Labels
from agents.generator.series.native import NativeState
from agents.generator.series.snapshot import ExemplarsOf, Natives, Snapshot
from tables.columns.sorted_sets import unique
from tables.columns.types import Int64s

Masks = npt.NDArray[np.bool_]

# Receivers refuse samples that are much older than the newest one: Prometheus by an hour. The samples of older pushes
# then get the time of the newest push that is merged.
_AGE_MAX_MS: Final = 30 * 60_000
_ROW_BYTES: Final = 8  # a reference to its labels, which belong to the table


@dataclass(frozen=True, eq=False, slots=True)
class PushPart:
    """Snapshots of one moment. created_ms: the time at which their new series were 0"""

    snapshots: list[Snapshot]
    time_ms: int
    created_ms: int


@dataclass(frozen=True, eq=False, slots=True)
class TableUpdate:
    """A snapshot of a table. It also has the time at which each value and native histogram was 0, if the target does
    not know; else 0.
    """

    snapshot: Snapshot
    zero_ms: Int64s
    native_zero_ms: Int64s


@dataclass(frozen=True, eq=False, slots=True)
class Push:
    """A collection, or several merged ones.

    first, last: numbers of the collections in it
    created_ms: before `time_ms`, and after the collection before
    ended: what to send first: last values of series that are not in `tables`, or that start again there
    again: the target may have it already
    """

    first: int
    last: int
    time_ms: int
    created_ms: int
    tables: list[TableUpdate]
    ended: list[PushPart] = field(default_factory=list)
    again: bool = False

    @property
    def size_bytes(self) -> int:
        """Approximate size in memory, without labels."""
        shown = [one.snapshot for one in self.tables] + [one for part in self.ended for one in part.snapshots]
        return 200 + sum(_size_bytes(one) for one in shown) + sum(one.zero_ms.nbytes for one in self.tables)

    @property
    def says_nothing(self) -> bool:
        """Whether the push has no series."""
        return not self.ended and not any(one.snapshot.labels or one.snapshot.stale for one in self.tables)

    def parts(self) -> list[PushPart]:
        """The parts of the push, ordered by time. All new series of a part were 0 at the same time."""
        return [*self.ended, *_by_zero(self.tables, self.time_ms, self.created_ms)]

    def requests(self, series_max: int, version: int, *, exemplars: bool, natives: bool) -> Iterator[bytes]:
        """The remote-write requests of the push, uncompressed; the same bytes each time."""
        for part in self.parts():
            shown = part.snapshots
            if not natives:
                shown = [replace(one, natives=None, native_exemplars=None) for one in shown]
            yield from encoded(shown, part.time_ms, part.created_ms, series_max, version=version, exemplars=exemplars)


def push_of(number: int, part: PushPart) -> Push:
    """A collection as a push. number: number of the collection"""
    tables = []
    for one in part.snapshots:
        natives = np.zeros(0, np.bool_) if one.natives is None else one.natives.created
        zeros = (np.where(created, part.created_ms, 0).astype(np.int64) for created in (one.created, natives))
        tables.append(TableUpdate(one, *zeros))
    return Push(number, number, part.time_ms, part.created_ms, tables)


def again(push: Push) -> Push:
    """The push, marked as one that a former process may have sent."""
    return replace(push, again=True)


def end_of(number: int, snapshots: Sequence[Snapshot], end_ms: int) -> Push:
    """A push that ends all series of the snapshots at `end_ms`, which is after their collection."""
    stale = []
    for one in snapshots:
        natives = np.zeros((len(one.labels), 0 if one.natives is None else len(one.natives.metrics)), np.bool_)
        if one.natives is not None:
            natives[one.natives.rows, one.natives.of] = True
        gone = [*one.stale, *zip(one.labels, one.shown, natives, strict=True)]
        none = None if one.natives is None else _chosen_natives(one.natives, np.zeros(len(one.natives.rows), np.bool_))
        shape = (0, len(one.metrics))
        nothing = np.zeros(shape, np.bool_)
        stale.append(Snapshot(one.metrics, [], np.zeros(shape), nothing, nothing, gone, none))
    return push_of(number, PushPart(stale, end_ms, end_ms - 1))


def last_push_of(number: int, part: PushPart, goes_on: Sequence[bool], end_ms: int) -> Push:
    """A push of the last collection before some series end at `end_ms`. goes_on: per snapshot, whether its series
    continue
    """
    said = [one if stays else replace(one, stale=[]) for one, stays in zip(part.snapshots, goes_on, strict=True)]
    gone = [one for one, stays in zip(part.snapshots, goes_on, strict=True) if not stays]
    return replace(end_of(number, gone, end_ms), ended=[replace(part, snapshots=said)])


def folded(older: Push, newer: Push) -> Push:
    """Merges two pushes, for a target that has received neither."""
    tables, gone = [], []
    same = [one.snapshot.metrics for one in older.tables] == [one.snapshot.metrics for one in newer.tables]
    if same:
        for was, is_now in zip(older.tables, newer.tables, strict=True):
            one, left = _folded_table(was, is_now, newer.time_ms - _AGE_MAX_MS, older.created_ms)
            tables.append(one)
            gone.append(left)
    else:  # of other settings: nothing of the older one goes on
        tables, gone = newer.tables, older.tables
    ended = [*older.ended]
    if any(one.snapshot.shown.any() or one.native_zero_ms.size or one.snapshot.stale for one in gone):
        ended += _by_zero(gone, older.time_ms, older.created_ms)
    for number, part in enumerate(ended):
        if part.time_ms < newer.time_ms - _AGE_MAX_MS:
            ended[number] = PushPart(part.snapshots, older.time_ms, older.created_ms)
    return Push(older.first, newer.last, newer.time_ms, newer.created_ms, tables, [*ended, *newer.ended])


def _folded_table(
    was: TableUpdate, is_now: TableUpdate, oldest_ms: int, recent_ms: int
) -> tuple[TableUpdate, TableUpdate]:
    """The newer table with the additional information of the older one, and the rest that only the older one has."""
    old, new = was.snapshot, is_now.snapshot
    place = _places(old.labels, new.labels)
    there = np.flatnonzero(place >= 0)
    zero_ms = is_now.zero_ms.copy()
    goes_on = np.zeros(old.shown.shape, np.bool_)
    # A series that is new in the newer push, and is in the older one, has ended in between.
    goes_on[there] = new.shown[place[there]] & (zero_ms[place[there]] == 0)
    row, column = np.nonzero(goes_on & (was.zero_ms > 0))
    zero_ms[place[row], column] = was.zero_ms[row, column]
    native_zero_ms = is_now.native_zero_ms.copy()
    native_goes_on = np.zeros(len(was.native_zero_ms), np.bool_)
    if old.natives is not None and new.natives is not None:
        width = len(old.natives.metrics)
        mine = new.natives.rows * width + new.natives.of
        order = np.argsort(mine)
        wanted = place[old.natives.rows] * width + old.natives.of
        at = np.searchsorted(mine[order], wanted)
        at = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(wanted), np.int64)
        if len(order):
            native_goes_on = (mine[at] == wanted) & (place[old.natives.rows] >= 0) & (native_zero_ms[at] == 0)
        fresh = native_goes_on & (was.native_zero_ms > 0)
        native_zero_ms[at[fresh]] = was.native_zero_ms[fresh]
    for times_ms in (zero_ms, native_zero_ms):
        times_ms[(times_ms > 0) & (times_ms < oldest_ms)] = recent_ms
    names = set(new.labels) if old.stale else set()
    stale = [one for one in old.stale if one[0] not in names]
    left = _masked(was, old.shown & ~goes_on, ~native_goes_on)
    return TableUpdate(replace(new, stale=[*stale, *new.stale]), zero_ms, native_zero_ms), left


def _places(labels: Sequence[Labels], among: Sequence[Labels]) -> Int64s:
    """The index of each label set in the other list; -1 if absent. A table's own label sets are mostly the same
    objects.
    """
    by_id = {id(one): number for number, one in enumerate(among)}
    found = [by_id.get(id(one), -1) for one in labels]
    if -1 in found:
        by_value = {one: number for number, one in enumerate(among)}
        found = [by_value.get(one, -1) if at < 0 else at for one, at in zip(labels, found, strict=True)]
    return np.array(found, np.int64)


def _masked(update: TableUpdate, shown: Masks, natives: Masks) -> TableUpdate:
    """Only some series of a table, without exemplars and ends."""
    one = update.snapshot
    chosen = replace(
        one,
        shown=shown,
        created=one.created & shown,
        stale=[],
        natives=None if one.natives is None else _chosen_natives(one.natives, natives),
        exemplars=None,
        native_exemplars=None,
    )
    return TableUpdate(chosen, np.where(shown, update.zero_ms, 0), update.native_zero_ms[natives])


def _by_zero(tables: Sequence[TableUpdate], time_ms: int, created_ms: int) -> list[PushPart]:
    """One part for each time at which series began. The last part also has all series that are not new."""
    found = [times[times > 0] for one in tables for times in (one.zero_ms, one.native_zero_ms)]
    times_ms = unique(np.concatenate([np.zeros(0, np.int64), *found])).tolist()
    parts = []
    for zero_ms in times_ms[:-1]:
        snapshots = [_masked(one, one.zero_ms == zero_ms, one.native_zero_ms == zero_ms) for one in tables]
        parts.append(PushPart([_all_new(one.snapshot) for one in snapshots], time_ms, zero_ms))
    said = times_ms[:-1]
    last_ms = times_ms[-1] if times_ms else created_ms
    return [*parts, PushPart([_rest(one, said, last_ms) for one in tables], time_ms, last_ms)]


def _all_new(one: Snapshot) -> Snapshot:
    natives = one.natives
    return replace(
        one,
        created=one.shown,
        natives=None if natives is None else replace(natives, created=np.ones(len(natives.rows), np.bool_)),
    )


def _rest(update: TableUpdate, said: Sequence[int], zero_ms: int) -> Snapshot:
    """The update without the series that began at the times in `said`."""
    one = update.snapshot
    created, natives_created = update.zero_ms == zero_ms, update.native_zero_ms == zero_ms
    if not said:
        natives = None if one.natives is None else replace(one.natives, created=natives_created)
        return replace(one, created=created & one.shown, natives=natives)
    shown = one.shown & ~np.isin(update.zero_ms, said)
    chosen = ~np.isin(update.native_zero_ms, said)
    left = _masked(update, shown, chosen).snapshot
    natives = None if left.natives is None else replace(left.natives, created=natives_created[chosen])
    exemplars = one.exemplars
    if exemplars is not None:
        kept = shown.ravel()[exemplars.series]
        exemplars = ExemplarsOf(exemplars.series[kept], exemplars.spans[kept])
    return replace(left, created=created & shown, stale=one.stale, natives=natives, exemplars=exemplars)


def _chosen_natives(natives: Natives, chosen: Masks) -> Natives:
    state = natives.state
    lengths = np.diff(state.starts)[chosen]
    buckets = np.repeat(chosen, np.diff(state.starts))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return replace(
        natives,
        state=NativeState(
            state.series[chosen], starts, state.indices[buckets], state.counts[buckets], state.schemas[chosen]
        ),
        rows=natives.rows[chosen],
        of=natives.of[chosen],
        sums=natives.sums[chosen],
        created=natives.created[chosen],
    )


def _size_bytes(one: Snapshot) -> int:
    arrays: list[npt.NDArray[Any]] = [one.values, one.shown, one.created]
    if one.natives is not None:
        state = one.natives.state
        arrays += [state.series, state.starts, state.indices, state.counts, state.schemas]
        arrays += [one.natives.rows, one.natives.of, one.natives.sums, one.natives.created]
    for exemplars in (one.exemplars, one.native_exemplars):
        arrays += [] if exemplars is None else [exemplars.series, exemplars.spans]
    return sum(array.nbytes for array in arrays) + _ROW_BYTES * (len(one.labels) + 3 * len(one.stale))
