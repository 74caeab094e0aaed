"""What one worker answers about tags: distinct texts and values, mergeable in any order, and sendable as Arrow IPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from query.results import Inspected
from query.scan.ipc import read_partial, write_partial
from query.scan.stitch import concat_rows
from tables.columns.arrays import one_array

_KIND: Final = b"stretto.tags"


@dataclass(frozen=True, slots=True, eq=False)
class TagPartial:
    """The tags of some sources. It holds no reader.

    distinct: of names the texts of each scope, of values those of each type: pyarrow Arrays without repeats
    shared_rows: of traces that several workers have, where the query is about whole traces; as of `Scan.shared_rows`
    """

    distinct: Mapping[str, Any]
    inspected: Inspected = field(default_factory=Inspected)
    shared_rows: pa.Table | None = None

    def to_ipc(self) -> bytes:
        """As Arrow IPC: a table with one row, which has a list for each scope or type."""
        lists = {key: pa.ListArray.from_arrays([0, len(array)], array) for key, array in self.distinct.items()}
        return write_partial(_KIND, {}, self.inspected, [pa.table(lists)], self.shared_rows)

    @classmethod
    def from_ipc(cls, data: bytes) -> "TagPartial":
        """What `to_ipc` wrote. Raises: as `read_partial`"""
        _, inspected, (lists,), shared_rows = read_partial(_KIND, data)
        distinct = {key: one_array(lists[key]).flatten() for key in lists.column_names}
        return cls(distinct, inspected, shared_rows)


def merge(partials: Sequence[TagPartial]) -> TagPartial:
    """The tags of all the partials' sources; shared rows are only put below each other."""
    if len(partials) == 1:
        return partials[0]
    keys = dict.fromkeys(key for partial in partials for key in partial.distinct)
    arrays = {key: [partial.distinct[key] for partial in partials if key in partial.distinct] for key in keys}
    return TagPartial(
        {key: pc.unique(pa.concat_arrays(found)) for key, found in arrays.items()},
        sum((partial.inspected for partial in partials), Inspected()),
        concat_rows(partial.shared_rows for partial in partials),
    )
