"""Label texts ↔ numbers, and several columns of numbers → one."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agents.generator.config import METRIC_LABELS, OVERFLOW_LABEL
from tables.columns.types import Codes

Labels = tuple[tuple[str, str], ...]

ABSENT: Final = 0  # the code of "": a label without text is no label
_TAKEN: Final = METRIC_LABELS | {OVERFLOW_LABEL}
_PREFIX: Final = "__"
OVERFLOW_VALUE: Final = "__cardinality_overflow__"
KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES: Final = ("UNSET", "OK", "ERROR")
KIND_TEXTS: Final = tuple(f"SPAN_KIND_{word}" for word in KINDS)
STATUS_TEXTS: Final = tuple(f"STATUS_CODE_{word}" for word in STATUSES)

_INT64_MAX: Final = 2**62
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")


class Interner:
    """Numbers the texts of a label in the order in which they come. Beyond the limit all new ones are one text."""

    def __init__(self, values_max: int = 0) -> None:
        self._values_max = values_max
        self.overflowed = 0  # rows that got the text of the overflow
        self.values: list[str] = [""]
        self._codes: dict[str, int] = {"": ABSENT}

    def code(self, text: str) -> int:
        """The text's number."""
        found = self._codes.get(text)
        if found is None:
            # The absent and the overflow value do not count.
            full = self._values_max and len(self.values) > self._values_max
            if full and text != OVERFLOW_VALUE:
                return self.code(OVERFLOW_VALUE)
            found = self._codes[text] = len(self.values)
            self.values.append(text)
        return found

    def codes(self, texts: Iterable[str]) -> Codes:
        """The numbers of several texts."""
        return np.array([self.code(text) for text in texts], np.int32)

    def count_overflowed(self, codes: Codes) -> None:
        """Counts the rows of a batch that are beyond the limit."""
        code = self._codes.get(OVERFLOW_VALUE)
        if code is not None:
            self.overflowed += int(np.count_nonzero(codes == code))

    def restore(self, values: Sequence[str]) -> None:
        """Takes all texts, in the order of their codes, the first of which is absence."""
        self.values = list(values)
        self._codes = {text: code for code, text in enumerate(self.values)}

    def keep(self, used: npt.NDArray[np.integer[Any]]) -> Codes:
        """Forgets all other codes. For each former code the new one; -1: forgotten."""
        kept = sorted({ABSENT, *used.tolist()})
        moved = np.full(len(self.values), -1, np.int32)
        moved[kept] = np.arange(len(kept))
        self.values = [self.values[code] for code in kept]
        self._codes = {text: code for code, text in enumerate(self.values)}
        return moved


def combine(columns: Sequence[Codes]) -> npt.NDArray[np.int64]:
    """One number per row, equal for rows that are equal in all columns. Columns hold no negative numbers."""
    combined = columns[0].astype(np.int64)
    size = int(combined.max(initial=0)) + 1
    for column in columns[1:]:
        more = int(column.max(initial=0)) + 1
        if size * more > _INT64_MAX:
            distinct, combined = np.unique(combined, return_inverse=True)
            size = len(distinct)
        combined = combined * more + column
        size *= more
    return combined


def sanitized(attribute: str) -> str:
    """An attribute's key as a name that Prometheus takes: `http.method` → `http_method`, `1st` → `_1st`."""
    name = _NOT_IN_A_NAME.sub("_", attribute)
    return name if name and not name[0].isdigit() else f"_{name}"


def label_name(attribute: str, taken: Iterable[str] = ()) -> str:
    """The label of an attribute. A name that is taken, also by a metric itself, gets two underscores in front, as often
    as it takes.
    """
    name, used = sanitized(attribute), {*_TAKEN, *taken}
    while name in used:
        name = _PREFIX + name
    return name


def label_names(attributes: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The label of each attribute, all different: the first of several keeps the name, the others get the prefix."""
    used, names = set(taken), []
    for attribute in attributes:
        names.append(label_name(attribute, used))
        used.add(names[-1])
    return names


def number_text(value: float) -> str:
    """As Tempo writes bounds and doubles in labels: 0.002, 1, 12.8, +Inf, NaN; but zero has no sign."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value + 0.0, trim="-")
