"""One tenant's rows of a record, as the processors read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agents.generator.series.labels import ABSENT, Interner, number_text
from tables.columns.arrays import fixed_bytes, list_offsets, numbers
from tables.columns.trace_facts import elapsed_ns
from tables.columns.types import Codes
from tables.seal.resources import parse_resource, service_name

_RESOURCES_MAX: Final = 10_000
_KNOWN_BYTES_MAX: Final = 8192
_NUMBERS: Final = ("bool_value", "int_value", "double_value")
# The least that OpenTelemetry's sampling can express. A smaller ratio is a fault, and would make counters infinite.
RATIO_MIN: Final = 2.0**-56


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """A resource's attributes as label values; those without text (lists, bytes, empty ones) are none."""

    service: str
    texts: dict[str, str]


class Resources:
    """Parsed resources: the same few come in every record."""

    def __init__(self) -> None:
        self._known: dict[bytes, ResourceFacts] = {}

    def facts(self, raw: bytes) -> ResourceFacts:
        """What the resource says."""
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
    """A scalar as a label's value; None for others."""
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
    """Rows of one tenant, in one partition. columns: see `tables.wire.otlp.decoder._flat`.

    times_ms: when each row's record came to Kafka; or one time for all
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
        self.attributes = SpanAttributes(spans.column("attributes"))

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """How long each span took."""
        taken: npt.NDArray[np.float64] = self.duration_ns / 1e9
        return taken

    @property
    def end_ns(self) -> npt.NDArray[np.int64]:
        """When each span ended."""
        ended: npt.NDArray[np.int64] = self.start_ns + self.duration_ns
        return ended

    def words(self, column: str) -> npt.NDArray[np.uint64]:
        """An id column as numbers, shape (rows, width / 8)."""
        return np.ascontiguousarray(fixed_bytes(self.spans.column(column))).view(np.uint64)

    def by_resource(self, texts: Sequence[str], interner: Interner) -> Codes:
        """texts: one per resource. The code of each row."""
        codes: Codes = interner.codes(texts)[self.resource_of]
        return codes

    def text_codes(self, column: str, interner: Interner) -> Codes:
        """Codes of a string column, dictionary-encoded or not."""
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
        """Label values of an attribute: the resource's, else the span's."""
        codes = self.by_resource([facts.texts.get(key, "") for facts in self.resources], interner)
        entries = self.attributes.find([key]).get(key)
        if entries is not None:
            rows = np.flatnonzero((entries >= 0) & (codes == ABSENT))
            codes[rows] = self.attributes.codes(entries[rows], interner)
        return codes

    def weights(self, key: str) -> npt.NDArray[np.float64] | None:
        """How many spans each stands for: one divided by the sampling ratio in the attribute, the span's own or else
        the resource's; one where neither is a ratio. None: each for one.
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
    """NaN for what is no ratio."""
    try:
        value = float(ratio)
    except ValueError:
        return float("nan")
    return 1.0 / value if RATIO_MIN <= value < float("inf") else float("nan")


class SpanAttributes:
    """The attributes of a batch's spans, found by key."""

    def __init__(self, lists: pa.ListArray) -> None:
        self.rows = len(lists)
        self.offsets = list_offsets(lists)
        self.pairs = lists.values
        self.first, self.end = int(self.offsets[0]), int(self.offsets[-1])
        self._key = self.pairs.field("key")
        self.keys: list[str] = self._key.dictionary.to_pylist()  # by number

    def key_codes(self) -> npt.NDArray[Any]:
        """The number of each entry's key, from `first` to `end`."""
        return numbers(self._key.indices)[self.first : self.end]

    def find(self, keys: Sequence[str]) -> dict[str, npt.NDArray[np.int32]]:
        """For each of the keys that any span has with a text: per row the place of its entry, -1 if it has none.

        Lists, bytes and empty texts are not found: they say nothing that a label could show.
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
        """Which of the entries are a text that is not empty, or a number."""
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
        for name in _NUMBERS:
            if name in fields:
                valid = self.pairs.field(name).take(chosen).is_valid()
                have[rest] |= valid.to_numpy(zero_copy_only=False)
        return have

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
        for name in _NUMBERS:
            if name in fields:
                taken = self.pairs.field(name).take(chosen)
                rows = np.flatnonzero(taken.is_valid().to_numpy(zero_copy_only=False))
                values = taken.drop_null().to_numpy(zero_copy_only=False)
                distinct, local = np.unique(values, return_inverse=True)
                out[rows] = interner.codes([value_text(value) or "" for value in distinct.tolist()])[local]
        return out
