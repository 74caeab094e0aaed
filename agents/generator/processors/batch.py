"""One tenant's rows of a record, as the processors read them: arrays with one element per span."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agents.generator.series.labels import ABSENT, Interner, number_text
from tables.columns.arrays import fixed_bytes, numbers
from tables.columns.trace_facts import elapsed_ns
from tables.columns.types import Codes
from tables.seal.resources import parse_resource, service_name
from tables.wire.span_attributes import NUMBER_FIELDS, SpanAttributes

_RESOURCES_MAX: Final = 10_000
_KNOWN_BYTES_MAX: Final = 8192
# The smallest ratio in OpenTelemetry's sampling. A smaller one is an error, and would make counters infinite.
RATIO_MIN: Final = 2.0**-56


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """A resource's attributes as label values, without lists, bytes and empty strings."""

    service: str
    texts: dict[str, str]


class Resources:
    """A cache of parsed resources: most records repeat the same few."""

    def __init__(self) -> None:
        self._known: dict[bytes, ResourceFacts] = {}

    def facts(self, raw: bytes) -> ResourceFacts:
        """The attributes of a resource. raw: its OTLP bytes"""
        found = self._known.get(raw)
        if found is None:
            if len(self._known) >= _RESOURCES_MAX:
                self._known.clear()
            resource = parse_resource(raw)
            texts: dict[str, str] = {}
            for key, _, value in resource.attributes:
                if text := value_text(value):
                    texts[key] = text
            service = service_name(resource) or ""
            if service:  # of several, one counts, wherever it is shown
                texts["service.name"] = service
            found = ResourceFacts(service, texts)
            if len(raw) <= _KNOWN_BYTES_MAX:  # thousands of larger ones would be too much to keep
                self._known[raw] = found
        return found


def value_text(value: Any) -> str | None:
    """A scalar as a label value; None for other types."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return number_text(value)
        case _:
            return None


class Batch:
    """Rows of one tenant in one partition. columns: see `tables.wire.otlp.decoder._flat`

    times_ms: Kafka's timestamp of each row's record, shape (rows,); or one timestamp for all
    """

    def __init__(self, spans: pa.RecordBatch, resources: Resources, times_ms: npt.NDArray[np.int64] | int) -> None:
        self.spans, self.rows = spans, len(spans)
        self.times_ms = np.broadcast_to(times_ms, (self.rows,))
        self.kind = numbers(spans.column("kind"))
        self.status = numbers(spans.column("status_code"))
        self.start_ns = numbers(spans.column("start_ns"))
        # A client's clock that goes back makes negative ones; a counter must not fall.
        self.duration_ns = elapsed_ns(self.start_ns, numbers(spans.column("duration_ns")))
        column = spans.column("resource")
        self.resource_of = numbers(column.indices)
        self.resources = [resources.facts(raw) for raw in column.dictionary.to_pylist()]
        self.attributes = LabelAttributes(spans.column("attributes"))

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Duration of each span in seconds, float64, shape (rows,)."""
        taken: npt.NDArray[np.float64] = self.duration_ns / 1e9
        return taken

    @property
    def end_ns(self) -> npt.NDArray[np.int64]:
        """End of each span in unix nanoseconds, shape (rows,)."""
        ended: npt.NDArray[np.int64] = self.start_ns + self.duration_ns
        return ended

    def words(self, column: str) -> npt.NDArray[np.uint64]:
        """An id column as uint64 numbers, shape (rows, width
        8).
        """
        return np.ascontiguousarray(fixed_bytes(self.spans.column(column))).view(np.uint64)

    def by_resource(self, texts: Sequence[str], interner: Interner) -> Codes:
        """The label code of each row, shape (rows,). texts: one per resource"""
        codes: Codes = interner.codes(texts)[self.resource_of]
        return codes

    def text_codes(self, column: str, interner: Interner) -> Codes:
        """Label codes of a string column, dictionary-encoded or not, shape (rows,)."""
        array = self.spans.column(column)
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        local = numbers(encoded.indices)
        texts = encoded.dictionary
        if len(texts) > self.rows:  # of a shared record: most texts are other tenants'
            used, local = np.unique(local, return_inverse=True)
            texts = texts.take(pa.array(used))
        codes: Codes = interner.codes(texts.to_pylist())[local]
        return codes

    def attribute_codes(self, key: str, interner: Interner) -> Codes:
        """Label codes of an attribute, shape (rows,): the resource's value, or else the span's."""
        codes = self.by_resource([facts.texts.get(key, "") for facts in self.resources], interner)
        entries = self.attributes.find([key]).get(key)
        if entries is not None:
            rows = np.flatnonzero((entries >= 0) & (codes == ABSENT))
            codes[rows] = self.attributes.codes(entries[rows], interner)
        return codes

    def weights(self, key: str) -> npt.NDArray[np.float64] | None:
        """Number of spans that each row stands for, shape (rows,); None: 1 for each.

        The weight is one divided by the sampling ratio in the attribute of the span, or else of the resource. Without a
        valid ratio it is 1.
        """
        if not key:
            return None
        of_resource = np.array([_weight(facts.texts.get(key, "")) for facts in self.resources])
        found: npt.NDArray[np.float64] = of_resource[self.resource_of]
        entries = self.attributes.find([key]).get(key)
        if entries is not None:
            rows, ratios = np.flatnonzero(entries >= 0), Interner()
            codes = self.attributes.codes(entries[rows], ratios)
            own = np.array([_weight(text) for text in ratios.values])[codes]
            found[rows] = np.where(np.isnan(own), found[rows], own)
        return np.where(np.isnan(found), 1.0, found)


def _weight(ratio: str) -> float:
    """One divided by the ratio; NaN if it is not a valid ratio."""
    try:
        value = float(ratio)
    except ValueError:
        return float("nan")
    return 1.0 / value if RATIO_MIN <= value < float("inf") else float("nan")


class LabelAttributes(SpanAttributes):
    """Attributes whose values become labels."""

    def codes(self, entries: npt.NDArray[np.int32], interner: Interner) -> Codes:
        """Label values of entries; absent for lists and bytes."""
        out = np.full(len(entries), ABSENT, np.int32)
        fields = [field.name for field in self.pairs.type]
        chosen = pa.array(entries)
        if "string_value" in fields:
            taken = self.pairs.field("string_value").take(chosen).dictionary_encode()
            local = numbers(taken.indices.fill_null(-1))
            texts = interner.codes(taken.dictionary.to_pylist())
            out[local >= 0] = texts[local[local >= 0]]
        else:
            local = np.full(len(entries), -1)
        if local.min(initial=0) >= 0:
            return out  # nearly always: names are texts
        for name in NUMBER_FIELDS:
            if name in fields:
                taken = self.pairs.field(name).take(chosen)
                rows = np.flatnonzero(taken.is_valid().to_numpy(zero_copy_only=False))
                values = taken.drop_null().to_numpy(zero_copy_only=False)
                distinct, local = np.unique(values, return_inverse=True)
                out[rows] = interner.codes([value_text(value) or "" for value in distinct.tolist()])[local]
        return out
