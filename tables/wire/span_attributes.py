"""The attributes of spans in a record's columns, found by key without a loop over spans."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import list_offsets, numbers

NUMBER_FIELDS: Final = ("bool_value", "int_value", "double_value")


class SpanAttributes:
    """The attributes of a batch's spans, as entries of a flat list; finds them by key."""

    def __init__(self, lists: pa.ListArray) -> None:
        self.rows = len(lists)
        self.offsets = list_offsets(lists)
        self.pairs = lists.values
        self.first, self.end = int(self.offsets[0]), int(self.offsets[-1])
        self._key = self.pairs.field("key")
        self.keys: list[str] = self._key.dictionary.to_pylist()  # by number

    def key_codes(self) -> npt.NDArray[Any]:
        """The key code of each entry from `first` to `end`."""
        return numbers(self._key.indices)[self.first : self.end]

    def find(self, keys: Sequence[str]) -> dict[str, npt.NDArray[np.int32]]:
        """For each of the keys that any span has with a text: the index of each row's entry, shape (rows,); -1 if it
        has none.

        Lists, bytes and empty strings do not count: a label cannot show them.
        """
        number_of = {key: number for number, key in enumerate(keys)}
        wanted = np.array([number_of.get(key, -1) for key in self.keys], np.int16)
        if not len(wanted) or wanted.max() < 0:
            return {}
        entry_key = wanted[self.key_codes()]
        hits = np.flatnonzero(entry_key >= 0)
        hits = hits[self._have_text(hits + self.first)]
        hit_key = entry_key[hits]
        places = (hits + self.first).astype(np.int32)
        rows = np.repeat(np.arange(self.rows), np.diff(np.searchsorted(places, self.offsets)))
        found: dict[str, npt.NDArray[np.int32]] = {}
        for number, key in enumerate(keys):
            mine = hit_key == number
            if mine.any():
                entries = np.full(self.rows, -1, np.int32)
                entries[rows[mine]] = places[mine]  # of a key that a span has twice, the last stays
                found[key] = entries
        return found

    def _have_text(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the entries hold a non-empty string or a number."""
        fields = {field.name for field in self.pairs.type}
        have = np.zeros(len(places), np.bool_)
        if "string_value" in fields:
            texts = self.pairs.field("string_value")
            offsets = list_offsets(texts)
            have = offsets[places + 1] > offsets[places]
            if have.all():
                return have  # nearly always
        rest = np.flatnonzero(~have)
        chosen = pa.array(places[rest])
        for name in NUMBER_FIELDS:
            if name in fields:
                valid = self.pairs.field(name).take(chosen).is_valid()
                have[rest] |= valid.to_numpy(zero_copy_only=False)
        return have
