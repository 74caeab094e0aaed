"""Which traces several workers have, found by numbers of half the size of the ids.

Each worker gives a key for each of its traces. Ids with one key are taken for one trace: then rows travel that need not
(see `ScanPlan.elsewhere`), and the answer is the same. So a key may be short.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from query import memory
from query.scan.arrays import Ids
from tables.columns.nested_set import MIX
from tables.columns.sorted_sets import is_among, twice, unique

Keys = npt.NDArray[np.uint64]  # ascending, each once

NO_KEYS: Keys = np.empty(0, np.uint64)
# A key, its place while it is sorted, and copies.
_KEY_BYTES = 32


def trace_keys(ids: Ids) -> Keys:
    """The keys of some traces."""
    return unique(keys_of_rows(ids))


def keys_in_several(lists: Sequence[Keys]) -> Keys:
    """The keys that more than one of the lists has. In: of each worker. Raises: memory.MemoryExceeded"""
    count = sum(map(len, lists))
    with memory.current().scratch(count * _KEY_BYTES, f"looking for what {count} traces of workers have in common"):
        return twice(np.concatenate([NO_KEYS, *lists]))


def ids_with_keys(ids: Ids, keys: Keys) -> Ids:
    """Those of the ids that have one of the keys, in the same order."""
    return ids[is_among(keys_of_rows(ids), keys)]


def keys_of_rows(ids: Ids) -> npt.NDArray[np.uint64]:
    """The key of each of some ids, in the same order."""
    halves = np.frombuffer(np.ascontiguousarray(ids).tobytes(), np.uint64).reshape(-1, 2)
    mixed: npt.NDArray[np.uint64] = halves[:, 0] * MIX + halves[:, 1]
    return mixed
