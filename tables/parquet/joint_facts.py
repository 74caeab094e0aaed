"""Facts of traces that several files have, made of what each file says of its part.

A trace begins with its earliest part and ends with its latest one. Its root is that of the part that has one: only
where several have, the spans themselves decide. So most facts need neither ids, names nor kinds of spans.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from tables.columns.arrays import numbers
from tables.columns.trace_facts import trace_times
from tables.columns.types import Int64s

# What else of the parts a fact needs.
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "trace_start_ns": (),
    "trace_duration_ns": ("trace_start_ns",),
    "root_name": (),
    "root_service": ("root_name",),
}


class Parts(NamedTuple):
    """Rows of some traces, those of a trace together. offsets: where each trace begins, one more than traces

    files: the number of each row's file
    """

    offsets: Int64s
    files: Int64s

    @property
    def traces(self) -> Int64s:
        """The number of each row's trace."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def joint_fact(column: str, parts: Parts, own: Mapping[str, Any]) -> Any | None:
    """A fact of whole traces at all of their rows, plain; None: the spans must decide. In: at least one row

    own: what the files say in these rows, plain: the column, and those of NEEDS
    """
    if column in ("root_name", "root_service"):
        return _of_root(own["root_name"], own[column], parts)
    starts = numbers(own["trace_start_ns"])
    durations = np.zeros_like(starts) if column == "trace_start_ns" else numbers(own[column])
    start, end = trace_times(starts, durations, parts.offsets[:-1])
    found = np.where(start <= end, start if column == "trace_start_ns" else end - start, 0)
    return pa.array(np.repeat(found, np.diff(parts.offsets)))


def _of_root(names: Any, values: Any, parts: Parts) -> Any | None:
    """What the part with a root says. A part without one has no name of it."""
    there = np.flatnonzero(names.is_valid().to_numpy(zero_copy_only=False))
    traces, files = parts.traces, parts.files[there]
    of_trace = traces[there]
    row = np.full(len(parts.offsets) - 1, -1)
    row[of_trace] = there
    if (parts.files[row[of_trace]] != files).any():
        return None
    at = row[traces]
    return values.take(pa.array(at, mask=at < 0))
