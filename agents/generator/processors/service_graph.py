"""Processor service-graphs: edges between services, with their rates, durations and failures."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.generator.config import ServiceGraphsConfig
from agents.generator.processors.batch import Batch
from agents.generator.processors.pairs import Pairs, UnpairedSpans, edge_keys, joined, taken, unpaired_type
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
# Attributes that name a database's server; the first one present counts. The attribute that marks it as one is last.
_SERVER_NAMES: Final = ("peer.service", "server.address", "network.peer.address")
_PORT: Final = "network.peer.port"
_HALVES_AT_ONCE: Final = 32_768


class _Edges(NamedTuple):
    """Edges row by row: both sides, and the codes of the labels connection_type and virtual_node."""

    clients: UnpairedSpans
    servers: UnpairedSpans
    types: npt.NDArray[np.int64]
    virtual: npt.NDArray[np.int64]


class Sides(NamedTuple):
    """Client and server spans of a batch, as `ServiceGraphs.add` expects them. clock_ms: Kafka's timestamp of the
    youngest record
    """

    clients: UnpairedSpans
    servers: UnpairedSpans
    clock_ms: int


class ServiceGraphs:
    """The service graph of one tenant."""

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
        self._type = unpaired_type(len(config.dimensions))
        self._pairs: dict[int, Pairs] = {}
        self._pending: dict[int, list[tuple[UnpairedSpans, UnpairedSpans]]] = {}
        self._pending_spans = 0
        self._clock_ms: dict[int, int] = {}
        self.edges = 0  # counted
        self.expired = 0  # unpaired spans whose other side did not come in time; some became edges to virtual nodes
        self.unpaired = 0  # of those, the ones that did not
        self.dropped = 0  # unpaired spans beyond max_items

    @property
    def tables(self) -> list[SeriesTable]:
        """The tables whose label sets count towards the tenant's limit."""
        return [self.table]

    @property
    def label_overflowed(self) -> int:
        """Label values that were replaced because their label has too many values."""
        return sum(interner.overflowed for interner in (self._names, *self._dimensions))

    @property
    def items(self) -> int:
        """Number of unpaired spans that wait for the other span of their edge."""
        return sum(map(len, self._pairs.values()))

    def prepare(self, batch: Batch) -> Sides:
        """Reads a record's rows. It counts nothing, so that any error leaves the counters unchanged."""
        return Sides(*self._sides(batch), int(batch.times_ms.max(initial=0)))

    def add(self, partition: int, prepared: Sides, now_s: float) -> None:
        """Adds the sides from `prepare`; `flush` pairs them."""
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
        """Adds rows that were counted before a restart, only for the unpaired spans among them that still wait."""
        clients, servers = self._sides(batch)
        pairs = self._pairs.setdefault(partition, Pairs(self._type))
        pairs.pair(taken(clients, clients["peer"] >= 0), taken(servers, servers["key"] != 0))

    def recalled(self, partition: int, clock_ms: int) -> None:
        """Ends the recall. Unpaired spans that had waited too long by clock_ms were already counted."""
        self._clock_ms[partition] = clock_ms
        if partition in self._pairs:
            self._pairs[partition].expire(clock_ms - round(self._config.wait_s * 1000))

    def flush(self, now_s: float) -> None:
        """Pairs the pending sides and counts the new edges."""
        while self._pending:
            # Taken out first, so that an error does not repeat for ever.
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
        """No record arrived in the partition until clock_ms: unpaired spans wait on until then."""
        self._clock_ms[partition] = max(clock_ms, self._clock_ms.get(partition, 0))

    @property
    def pending(self) -> int:
        """Number of unpaired spans that wait for `flush`."""
        return self._pending_spans

    def forget(self, partition: int) -> None:
        """Drops what a partition added since the last collection, and its unpaired spans."""
        for clients, servers in self._pending.pop(partition, []):
            self._pending_spans -= len(clients) + len(servers)
        self._pairs.pop(partition, None)
        self._clock_ms.pop(partition, None)
        self.table.forget(partition)

    def collect(self, now_s: float, stale_after_s: float) -> list[Snapshot]:
        """A snapshot of everything counted so far."""
        self.flush(now_s)
        for partition in list(self._pairs):
            self._count(partition, self._expire(partition), now_s)
        snapshot = self.table.collect(now_s, stale_after_s)
        if snapshot.stale:
            self._purge()
        return [snapshot]

    def saved(self) -> Tree:
        """A copy of what was collected, for `restore`. It has no unpaired spans; the generator recalls those."""
        return {
            "names": Plain(list(self._names.values)),
            "dimensions": Plain([list(interner.values) for interner in self._dimensions]),
            "table": self.table.saved(),
        }

    def restore(self, saved: Tree) -> None:
        """Continues from `saved`. Call it before anything else."""
        self._names.restore(saved["names"])
        for interner, values in zip(self._dimensions, saved["dimensions"], strict=True):
            interner.restore(values)
        self.table.restore(saved["table"])

    # ---- unpaired spans

    def _sides(self, batch: Batch) -> tuple[UnpairedSpans, UnpairedSpans]:
        """Client and server spans of a batch, as arrays of unpaired spans."""
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
            # A server without a parent needs no other side. Its key is 0, which no client has.
            unpaired["key"] = np.where(span_ids[:, 0] == 0, 0, unpaired["key"])
        return unpaired

    def _name_peers(self, batch: Batch, rows: npt.NDArray[np.int64], unpaired: UnpairedSpans) -> None:
        """Sets the called service from the client's attributes. Databases get a negative code: their edges need no
        server span.
        """
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
        """Edges of matching clients and servers, row by row."""
        message = clients["message"] | servers["message"]
        return _Edges(clients, servers, np.where(message, _MESSAGING, _PLAIN), np.zeros(len(clients), np.int64))

    def _complete(
        self, clients: UnpairedSpans, servers: UnpairedSpans
    ) -> tuple[UnpairedSpans, UnpairedSpans, list[_Edges]]:
        """Edges that one side defines alone: databases, and calls from outside. Returns the other sides first."""
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
        """Removes the unpaired spans that have waited long enough. Clients become edges to the peer that they name."""
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
        """Counts all edges in one call, because each call of the table costs as much as a thousand edges."""
        edges = [one for one in edges if len(one.clients)]
        self.edges += sum(len(one.clients) for one in edges)
        if not edges:
            return
        clients, servers = joined([one.clients for one in edges]), joined([one.servers for one in edges])
        types, virtual = (np.concatenate([one[place] for one in edges]) for place in (2, 3))
        # The key contains only what labels show; otherwise two series would have the same labels.
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
            # If a span has no time, the time of its message in the messaging system is unknown.
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
        """Forgets label values that are no longer in use."""
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
    """Per row, the entry of the first of the keys that it has; -1 if it has none."""
    entries = none.copy()
    for key in keys:
        if key in found:
            entries = np.where(entries < 0, found[key], entries)
    return entries
