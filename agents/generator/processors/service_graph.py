"""Processor service-graphs: who calls whom, how often, how fast, how often in vain."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.generator.config import ServiceGraphsConfig
from agents.generator.processors.batch import Batch
from agents.generator.processors.pairs import Pairs, UnpairedSpans, edge_keys, half_type, joined, taken
from agents.generator.series.columns_file import Plain, Tree
from agents.generator.series.histogram import Histogram, Observations
from agents.generator.series.labels import ABSENT, Interner, Labels, label_names
from agents.generator.series.series import SeriesTable, TableConfig
from agents.generator.series.snapshot import Metric, Snapshot
from tables.columns.types import Codes

_PREFIX: Final = "traces_service_graph_request"
_METRICS: Final = (
    Metric(f"{_PREFIX}_total", help="Edges: calls between two services."),
    Metric(f"{_PREFIX}_failed_total", sparse=True, help="Edges of which either span failed."),
)
# What connection_type and virtual_node say, by code.
_TYPES: Final = ("", "virtual_node", "messaging_system", "database")
_VIRTUAL: Final = ("", "client", "server")
_LABELS: Final = ("client", "server", "connection_type", "virtual_node")
_PLAIN, _VIRTUAL_NODE, _MESSAGING, _DATABASE = range(4)
_CLIENT_IS_VIRTUAL, _SERVER_IS_VIRTUAL = 1, 2
_SERVER, _CLIENT, _PRODUCER, _CONSUMER, _ERROR = 2, 3, 4, 5, 2
_USER: Final = "user"  # who calls a service whose span has no parent
# Names of a database's server, first found first; the attribute that told that it is one comes last.
_SERVER_NAMES: Final = ("peer.service", "server.address", "network.peer.address")
_PORT: Final = "network.peer.port"
_HALVES_AT_ONCE: Final = 32_768


class _Edges(NamedTuple):
    """Row by row: both unpaired, and codes of the labels connection_type and virtual_node."""

    clients: UnpairedSpans
    servers: UnpairedSpans
    types: npt.NDArray[np.int64]
    virtual: npt.NDArray[np.int64]


class Sides(NamedTuple):
    """What `ServiceGraphs.add` takes. clock_ms: when the youngest record came to Kafka."""

    clients: UnpairedSpans
    servers: UnpairedSpans
    clock_ms: int


class ServiceGraphs:
    """Of one tenant."""

    def __init__(self, config: ServiceGraphsConfig, tables: TableConfig, values_max: int = 0) -> None:
        self._config = config
        bounds = config.histogram_buckets
        histograms = [
            Histogram(f"{_PREFIX}_server_seconds", bounds, "Duration of the spans of servers."),
            Histogram(f"{_PREFIX}_client_seconds", bounds, "Duration of the spans of clients."),
        ]
        if config.enable_messaging_system_latency_histogram:
            about = "From a producer's end to its consumer's start."
            histograms.append(Histogram(f"{_PREFIX}_messaging_system_seconds", bounds, about, sparse=True))
        weighted = bool(config.span_multiplier_key)
        self.table = SeriesTable(_METRICS, self._labels, tables, histograms, fractions=weighted)
        self._names = Interner(values_max)
        self._dimensions = [Interner(values_max) for _ in config.dimensions]
        sides = ("client_", "server_") if config.enable_client_server_prefix else ("",)
        taken = {*_LABELS, *(name for name, _ in tables.external_labels)}
        self._dimension_names = label_names((f"{side}{key}" for key in config.dimensions for side in sides), taken)
        self._type = half_type(len(config.dimensions))
        self._pairs: dict[int, Pairs] = {}
        self._pending: dict[int, list[tuple[UnpairedSpans, UnpairedSpans]]] = {}
        self._pending_spans = 0
        self._clock_ms: dict[int, int] = {}
        self.expired = 0  # unpaired spans whose other side did not come in time; some became edges to virtual nodes
        self.unpaired = 0  # of those, the ones that did not
        self.dropped = 0  # unpaired spans beyond max_items

    @property
    def tables(self) -> list[SeriesTable]:
        """Label sets that count towards the tenant's limit."""
        return [self.table]

    @property
    def label_overflowed(self) -> int:
        """Values of labels, of all unpaired, that were replaced because the label has too many."""
        return sum(interner.overflowed for interner in (self._names, *self._dimensions))

    @property
    def items(self) -> int:
        """Unpaired spans that wait for their other side."""
        return sum(map(len, self._pairs.values()))

    def prepare(self, batch: Batch) -> Sides:
        """Reads a record's rows. Whatever their content makes it raise, nothing has been counted then."""
        return Sides(*self._sides(batch), int(batch.times_ms.max(initial=0)))

    def add(self, partition: int, prepared: Sides, now_s: float) -> None:
        """Takes what was read."""
        clients, servers, clock_ms = prepared
        for side in (clients, servers):
            for codes in (side["service"], np.abs(side["peer"])):
                self._names.count_overflowed(codes)
            for number, interner in enumerate(self._dimensions):
                interner.count_overflowed(side["dimensions"][:, number])
        self._clock_ms[partition] = max(clock_ms, self._clock_ms.get(partition, 0))
        self._pending.setdefault(partition, []).append((clients, servers))
        self._pending_spans += len(clients) + len(servers)
        if self._pending_spans >= _HALVES_AT_ONCE:
            self.flush(now_s)

    def recall(self, partition: int, batch: Batch) -> None:
        """Takes rows that were counted before a restart: only for the unpaired spans that still wait in them."""
        clients, servers = self._sides(batch)
        pairs = self._pairs.setdefault(partition, Pairs(self._type))
        pairs.pair(taken(clients, clients["peer"] >= 0), taken(servers, servers["key"] != 0))

    def recalled(self, partition: int, clock_ms: int) -> None:
        """The past ends here. Unpaired spans that had waited too long by then were counted then."""
        self._clock_ms[partition] = clock_ms
        if partition in self._pairs:
            self._pairs[partition].expire(clock_ms - round(self._config.wait_s * 1000))

    def flush(self, now_s: float) -> None:
        """Pairs what waits."""
        while self._pending:
            # Taken out first: whatever goes wrong with them must not go wrong for ever.
            partition = next(iter(self._pending))
            parts = self._pending.pop(partition)
            self._pending_spans -= sum(len(side) for sides in parts for side in sides)
            pairs = self._pairs.setdefault(partition, Pairs(self._type))
            clients, servers = (joined(unpaired) for unpaired in zip(*parts, strict=True))
            clients, servers, whole = self._complete(clients, servers)
            edges = [*whole, self._edges(*pairs.pair(clients, servers))]
            self.dropped += pairs.shed(self._config.max_items)
            edges += self._expire(partition)
            self._count(partition, edges, now_s)

    def idle(self, partition: int, clock_ms: int) -> None:
        """Nothing more came to the partition until then: the wait of unpaired spans goes on."""
        self._clock_ms[partition] = max(clock_ms, self._clock_ms.get(partition, 0))

    @property
    def pending(self) -> int:
        """Unpaired spans that wait for `flush`."""
        return self._pending_spans

    def forget(self, partition: int) -> None:
        """Drops what was not collected of a partition, and its unpaired."""
        for clients, servers in self._pending.pop(partition, []):
            self._pending_spans -= len(clients) + len(servers)
        self._pairs.pop(partition, None)
        self._clock_ms.pop(partition, None)
        self.table.forget(partition)

    def collect(self, now_s: float, stale_after_s: float) -> list[Snapshot]:
        """Everything taken so far."""
        self.flush(now_s)
        for partition in list(self._pairs):
            self._count(partition, self._expire(partition), now_s)
        snapshot = self.table.collect(now_s, stale_after_s)
        if snapshot.stale:
            self._purge()
        return [snapshot]

    def saved(self) -> Tree:
        """A copy of what was collected, as `restore` takes it; without unpaired, which are recalled."""
        return {
            "names": Plain(list(self._names.values)),
            "dimensions": Plain([list(interner.values) for interner in self._dimensions]),
            "table": self.table.saved(),
        }

    def restore(self, saved: Tree) -> None:
        """Goes on from what `saved` has said, before anything else."""
        self._names.restore(saved["names"])
        for interner, values in zip(self._dimensions, saved["dimensions"], strict=True):
            interner.restore(values)
        self.table.restore(saved["table"])

    # ---- unpaired spans

    def _sides(self, batch: Batch) -> tuple[UnpairedSpans, UnpairedSpans]:
        """Clients and servers of a batch."""
        kind = batch.kind
        services = batch.by_resource([facts.service for facts in batch.resources], self._names)
        named = services != ABSENT
        clients = np.flatnonzero(((kind == _CLIENT) | (kind == _PRODUCER)) & named)
        servers = np.flatnonzero(((kind == _SERVER) | (kind == _CONSUMER)) & named)
        return self._unpaired_spans(batch, clients, services), self._unpaired_spans(batch, servers, services)

    def _unpaired_spans(self, batch: Batch, rows: npt.NDArray[np.int64], services: Codes) -> UnpairedSpans:
        unpaired = np.zeros(len(rows), self._type)
        if not len(rows):
            return unpaired
        unpaired["time_ms"] = batch.times_ms[rows]
        unpaired["duration_ns"] = batch.duration_ns[rows]
        unpaired["start_ns"] = batch.start_ns[rows]
        unpaired["service"] = services[rows]
        unpaired["failed"] = batch.status[rows] == _ERROR
        unpaired["message"] = (batch.kind[rows] == _PRODUCER) | (batch.kind[rows] == _CONSUMER)
        weights = batch.weights(self._config.span_multiplier_key)
        unpaired["weight"] = 1.0 if weights is None else weights[rows]
        for number, (key, interner) in enumerate(zip(self._config.dimensions, self._dimensions, strict=True)):
            unpaired["dimensions"][:, number] = batch.attribute_codes(key, interner)[rows]
        unpaired["trace_id"] = trace_ids = batch.words("trace_id")[rows]
        called = batch.kind[rows[0]] in (_CLIENT, _PRODUCER)
        span_ids = batch.words("span_id" if called else "parent_span_id")[rows]
        unpaired["key"] = edge_keys(trace_ids, span_ids)
        if called:
            self._name_peers(batch, rows, unpaired)
        else:
            # A server without a parent needs no other side. It is told by key 0, which no other side has.
            unpaired["key"] = np.where(span_ids[:, 0] == 0, 0, unpaired["key"])
        return unpaired

    def _name_peers(self, batch: Batch, rows: npt.NDArray[np.int64], unpaired: UnpairedSpans) -> None:
        """Sets who was called, as the client's attributes say. Databases' are negative: their edges are complete."""
        config = self._config
        keys = dict.fromkeys((*config.peer_attributes, *config.database_name_attributes, *_SERVER_NAMES, _PORT))
        found = {key: entries[rows] for key, entries in batch.attributes.find(list(keys)).items()}
        none = np.full(len(rows), -1, np.int32)
        peers = _first(found, config.peer_attributes, none)
        databases = _first(found, config.database_name_attributes, none)
        is_database = databases >= 0
        peers[is_database] = _first(found, (*_SERVER_NAMES, *config.database_name_attributes), none)[is_database]
        some = np.flatnonzero(peers >= 0)
        if not len(some):
            return
        codes = np.zeros(len(rows), np.int32)
        codes[some] = batch.attributes.codes(peers[some], self._names)
        port = found.get(_PORT)
        if port is not None:
            by_address = is_database & (peers == found.get(_SERVER_NAMES[-1], none)) & (port >= 0) & (peers >= 0)
            self._with_ports(batch, codes, port, np.flatnonzero(by_address))
        unpaired["peer"] = np.where(is_database, -codes, codes)

    def _with_ports(self, batch: Batch, codes: Codes, port: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]) -> None:
        ports = Interner()
        of_row = batch.attributes.codes(port[rows], ports)
        pairs, group = np.unique(np.stack([codes[rows], of_row], axis=1), axis=0, return_inverse=True)
        texts = [f"{self._names.values[name]}:{ports.values[number]}" for name, number in pairs.tolist()]
        codes[rows] = self._names.codes(texts)[group.reshape(-1)]

    # ---- edges

    def _edges(self, clients: UnpairedSpans, servers: UnpairedSpans) -> _Edges:
        """Those of two unpaired."""
        message = clients["message"] | servers["message"]
        return _Edges(clients, servers, np.where(message, _MESSAGING, _PLAIN), np.zeros(len(clients), np.int64))

    def _complete(
        self, clients: UnpairedSpans, servers: UnpairedSpans
    ) -> tuple[UnpairedSpans, UnpairedSpans, list[_Edges]]:
        """The edges that one side tells whole: databases, and calls from outside. Returns the other sides first."""
        of_database, from_outside = clients["peer"] < 0, servers["key"] == 0
        calls, roots = taken(clients, of_database), taken(servers, from_outside)
        called = taken(clients, of_database)
        called["service"] = -calls["peer"]
        users = np.zeros_like(roots)
        users["service"] = self._names.code(_USER)
        for name in ("weight", "trace_id", "start_ns"):
            users[name] = roots[name]
        whole = [
            _Edges(calls, called, np.full(len(calls), _DATABASE), np.zeros(len(calls), np.int64)),
            _Edges(users, roots, np.full(len(roots), _VIRTUAL_NODE), np.full(len(roots), _CLIENT_IS_VIRTUAL)),
        ]
        return taken(clients, ~of_database), taken(servers, ~from_outside), whole

    def _expire(self, partition: int) -> list[_Edges]:
        """Removes the unpaired spans that have waited long enough. Edges to those that clients say they called."""
        pairs = self._pairs.get(partition)
        if pairs is None:
            return []
        clients, servers = pairs.expire(self._clock_ms.get(partition, 0) - round(self._config.wait_s * 1000))
        self.expired += len(clients) + len(servers)
        calls = taken(clients, clients["peer"] > 0)
        self.unpaired += len(clients) + len(servers) - len(calls)
        called = np.zeros_like(calls)
        called["service"], called["start_ns"] = calls["peer"], calls["start_ns"]
        types, virtual = np.full(len(calls), _VIRTUAL_NODE), np.full(len(calls), _SERVER_IS_VIRTUAL)
        return [_Edges(calls, called, types, virtual)]

    def _count(self, partition: int, edges: Sequence[_Edges], now_s: float) -> None:
        """All at once: each call of the table costs as much as a thousand edges."""
        edges = [one for one in edges if len(one.clients)]
        if not edges:
            return
        clients, servers = joined([one.clients for one in edges]), joined([one.servers for one in edges])
        types, virtual = (np.concatenate([one[place] for one in edges]) for place in (2, 3))
        # What no label shows must not be in the key: two series with the same labels would be sent.
        shown = virtual if self._config.enable_virtual_node_label else np.zeros_like(virtual)
        columns = [clients["service"], servers["service"], types.astype(np.int32), shown.astype(np.int32)]
        for number in range(len(self._dimensions)):
            sides = [clients["dimensions"][:, number], servers["dimensions"][:, number]]
            both = self._config.enable_client_server_prefix
            columns += sides if both else [np.where(sides[0] != ABSENT, *sides)]
        weights = clients["weight"] if self._config.span_multiplier_key else None
        failed = (clients["failed"] | servers["failed"]) * clients["weight"]
        observed = [
            Observations(
                side["duration_ns"] / 1e9, weights, side["start_ns"] + side["duration_ns"], clients["trace_id"]
            )
            for side in (servers, clients)
        ]
        if self._config.enable_messaging_system_latency_histogram:
            waited_ns = servers["start_ns"] - (clients["start_ns"] + clients["duration_ns"])
            # Of a span that does not say when it was, nobody knows how long its message was under way.
            timed = (clients["start_ns"] > 0) & (servers["start_ns"] > 0)
            only = clients["weight"] * ((types == _MESSAGING) & timed)
            observed.append(
                Observations(np.maximum(waited_ns, 0) / 1e9, only, servers["start_ns"], clients["trace_id"])
            )
        self.table.add(partition, columns, [weights, failed], observed, now_s)

    def _labels(self, codes: Sequence[int]) -> Labels:
        client, server, type_, virtual, *dimensions = codes
        names = self._names.values
        labels = [("client", names[client]), ("server", names[server]), ("connection_type", _TYPES[type_])]
        if self._config.enable_virtual_node_label:
            labels.append(("virtual_node", _VIRTUAL[virtual]))
        sides = 2 if self._config.enable_client_server_prefix else 1
        for number, (name, code) in enumerate(zip(self._dimension_names, dimensions, strict=True)):
            labels.append((name, self._dimensions[number // sides].values[code]))
        return tuple(labels)

    def _purge(self) -> None:
        """Forgets texts that nothing uses any more."""
        unpaired = [part for pairs in self._pairs.values() for part in pairs.parts()]
        used = [self.table.used(0), self.table.used(1), *(side["service"] for side in unpaired)]
        moved_names = self._names.keep(np.concatenate([*used, *(np.abs(side["peer"]) for side in unpaired)]))
        types = np.arange(max(len(_TYPES), len(_VIRTUAL)), dtype=np.int32)
        moved = [moved_names, moved_names, types, types]
        sides = 2 if self._config.enable_client_server_prefix else 1
        for number, interner in enumerate(self._dimensions):
            of_series = [self.table.used(4 + sides * number + side) for side in range(sides)]
            kept = interner.keep(np.concatenate([*of_series, *(side["dimensions"][:, number] for side in unpaired)]))
            moved += [kept] * sides
            for side in unpaired:
                side["dimensions"][:, number] = kept[side["dimensions"][:, number]]
        for side in unpaired:
            side["service"] = moved_names[side["service"]]
            side["peer"] = np.sign(side["peer"]) * moved_names[np.abs(side["peer"])]
        self.table.renumber(moved)


def _first(
    found: dict[str, npt.NDArray[np.int32]], keys: Sequence[str], none: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Per row, the entry of the first of the keys that it has; -1 if it has none of them."""
    entries = none.copy()
    for key in keys:
        if key in found:
            entries = np.where(entries < 0, found[key], entries)
    return entries
