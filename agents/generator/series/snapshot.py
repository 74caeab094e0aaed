"""What one push says of a table: a copy, which the table's next spans do not change."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.generator.series.labels import Labels
from agents.generator.series.native import NativeState
from tables.columns.types import Floats, Int64s

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric of each label set.

    label: besides those of the set, as `le`; sparse: not sent before it is above 0; hidden: never sent
    kind: counter, gauge or histogram
    """

    name: str
    label: tuple[str, str] | None = None
    sparse: bool = False
    hidden: bool = False
    kind: str = "counter"
    help: str = ""
    unit: str = ""


@dataclass(eq=False, slots=True)
class Natives:
    """Native histograms. Series number n is of label set rows[n] and metric of[n].

    float_counts: whether counts may have fractions; created: never sent before
    """

    metrics: list[Metric]
    state: NativeState
    rows: Int64s
    of: Int64s
    sums: Floats
    created: Masks
    float_counts: bool


@dataclass(eq=False, slots=True)
class ExemplarsOf:
    """Exemplars, in order of their series and then their times; `exemplars.EXEMPLAR`.

    series: row * width + column for those of classic histograms, the series' number for those of native ones
    """

    series: Int64s
    spans: npt.NDArray[Any]


@dataclass(eq=False, slots=True)
class Snapshot:
    """labels: of each row, without the metric's name, in order of their names, no empty values.

    values, shown, created: one per row and metric. created: never sent before
    stale: label sets that have ended, and which metrics and native histograms of them were sent
    label: the name under which exemplars have their trace's id
    """

    metrics: list[Metric]
    labels: list[Labels] = field(default_factory=list)
    values: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    shown: Masks = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    created: Masks = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    stale: list[tuple[Labels, Masks, Masks]] = field(default_factory=list)
    natives: Natives | None = None
    exemplars: ExemplarsOf | None = None
    native_exemplars: ExemplarsOf | None = None
    trace_id_label: str = ""
