"""What one worker answers about tags: distinct texts and values, mergeable in any order, and sendable as Arrow IPC."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from query.results import Inspected
from query.scan.stitch import concat_rows
from tables.columns.arrays import one_array

_HEADER = b"stretto.tags"


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
        """As Arrow IPC streams: a row with a list for each scope or type, then the shared rows."""
        lists = {key: pa.ListArray.from_arrays([0, len(array)], array) for key, array in self.distinct.items()}
        header = {_HEADER: json.dumps(asdict(self.inspected))}
        tables = [pa.table(lists).replace_schema_metadata(header)]
        tables.append(pa.table({}) if self.shared_rows is None else self.shared_rows)
        sink = pa.BufferOutputStream()
        for table in tables:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_ipc(cls, data: bytes) -> "TagPartial":
        """What `to_ipc` wrote. Raises: pa.ArrowInvalid where it is damaged"""
        source = pa.BufferReader(data)
        lists, shared_rows = [pa.ipc.open_stream(source).read_all() for _ in range(2)]
        distinct = {key: one_array(lists[key]).flatten() for key in lists.column_names}
        inspected = Inspected(**json.loads(lists.schema.metadata[_HEADER]))
        return cls(distinct, inspected, shared_rows if shared_rows.num_columns else None)


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
