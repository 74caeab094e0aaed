"""Unpaired spans that wait for each other: the client's span and the server's, of one partition.

All spans of a trace are in one partition, so both sides of an edge come here, in any order, at any distance.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

UnpairedSpans = npt.NDArray[Any]  # rows of `half_type`

_MATCHED_FACTOR: Final = 4
_RUNS_MAX: Final = 32
_MULTIPLIERS: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def half_type(dimensions: int) -> np.dtype[Any]:
    """One side of an edge. 67 bytes without dimensions."""
    return np.dtype(
        [
            ("key", np.uint64),
            ("trace_id", np.uint64, (2,)),
            ("time_ms", np.int64),  # of the record: when it came to Kafka
            ("start_ns", np.int64),
            ("duration_ns", np.int64),
            ("weight", np.float64),
            ("service", np.int32),
            ("peer", np.int32),  # client: who it called, by its attributes; 0: they do not say
            ("failed", np.bool_),
            ("message", np.bool_),  # producer or consumer
            ("matched", np.bool_),
            ("dimensions", np.int32, (dimensions,)),
        ]
    )


def taken(unpaired: UnpairedSpans, which: npt.NDArray[Any]) -> UnpairedSpans:
    """`unpaired[which]`, as a copy: numpy's own takes 20 times as long, field by field."""
    chosen: UnpairedSpans = unpaired.view((np.void, unpaired.itemsize))[which].view(unpaired.dtype)
    return chosen


def joined(parts: Sequence[UnpairedSpans]) -> UnpairedSpans:
    """`np.concatenate(parts)`, likewise. parts: at least one."""
    raw = np.concatenate([part.view((np.void, part.itemsize)) for part in parts])
    together: UnpairedSpans = raw.view(parts[0].dtype)
    return together


def edge_keys(trace_ids: npt.NDArray[np.uint64], span_ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A number for each span of each trace. Span ids alone repeat: some clients count from 1 in every trace.

    trace_ids: shape (rows, 2); span_ids: (rows, 1)
    """
    mixed = (trace_ids[:, 0] + trace_ids[:, 1] * _MULTIPLIERS[1]) * _MULTIPLIERS[0]
    mixed = ((mixed ^ mixed >> np.uint64(32)) + span_ids[:, 0]) * _MULTIPLIERS[2]
    keys: npt.NDArray[np.uint64] = mixed ^ mixed >> np.uint64(29)
    return keys


class Pairs:
    """Unpaired spans of one partition.

    A client stays for the whole wait although a server was found: a message has several consumers, and a call that
    was sent again several servers. Each is an edge. Clients lie in runs, as they came: nearly all servers find theirs
    in the youngest, so that the thousands that only wait cost nothing.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self.runs: list[UnpairedSpans] = []  # clients, each run by key, the oldest first
        self.servers: UnpairedSpans = np.zeros(0, dtype)  # not matched yet

    def __len__(self) -> int:
        """Unpaired spans whose other side has not come."""
        return len(self.servers) + sum(int(np.count_nonzero(~run["matched"])) for run in self.runs)

    def parts(self) -> list[UnpairedSpans]:
        """All unpaired spans: of clients by run, then of servers."""
        return [*self.runs, self.servers]

    def pair(self, clients: UnpairedSpans, servers: UnpairedSpans) -> tuple[UnpairedSpans, UnpairedSpans]:
        """Takes new unpaired spans. Returns the edges that came about: client and server of each."""
        found_clients: list[UnpairedSpans] = []
        found_servers: list[UnpairedSpans] = []

        def match(run: UnpairedSpans, wanted: UnpairedSpans) -> UnpairedSpans:
            there, places = _find(run["key"], wanted["key"])
            run["matched"][places] = True
            if not len(places):
                return wanted
            found_clients.append(taken(run, places))
            found_servers.append(taken(wanted, there))
            return taken(wanted, ~there)

        if len(clients):
            clients = taken(clients, np.argsort(clients["key"]))
            self.servers = match(clients, self.servers)
            self.runs.append(clients)
        for run in reversed(self.runs):
            servers = match(run, servers)
        self.servers = joined([self.servers, servers])
        if len(self.runs) > _RUNS_MAX:
            self._merge()
        empty = np.zeros(0, self._dtype)
        return joined([empty, *found_clients]), joined([empty, *found_servers])

    def _merge(self) -> None:
        """Two small neighbours become one run."""
        sizes = np.array([len(run) for run in self.runs])
        at = int(np.argmin(sizes[:-1] + sizes[1:]))
        both = joined(self.runs[at : at + 2])
        self.runs[at : at + 2] = [taken(both, np.argsort(both["key"]))]

    def expire(self, before_ms: int) -> tuple[UnpairedSpans, UnpairedSpans]:
        """Removes the unpaired spans that came before then. Returns those that nothing was found for: clients,
        servers.
        """
        gone = [np.zeros(0, self._dtype)]
        kept = []
        for run in self.runs:
            old = run["time_ms"] < before_ms
            if old.any():
                gone.append(taken(run, old & ~run["matched"]))
            left = taken(run, ~old) if old.any() else run
            kept += [left] if len(left) else []
        self.runs = kept
        late = self.servers["time_ms"] < before_ms
        servers = taken(self.servers, late)
        if len(servers):
            self.servers = taken(self.servers, ~late)
        return joined(gone), servers

    def shed(self, items_max: int) -> int:
        """Drops the youngest unpaired spans beyond the limit, and of those that are matched what is far beyond. How
        many of the former.
        """
        if sum(map(len, self.parts())) <= items_max:
            return 0
        waiting = len(self)
        if sum(map(len, self.runs)) - waiting > _MATCHED_FACTOR * items_max:
            self.runs = [taken(run, ~run["matched"]) for run in self.runs]
        over = waiting - items_max
        if over <= 0:
            return 0
        times = [run["time_ms"][~run["matched"]] for run in self.runs] + [self.servers["time_ms"]]
        doomed = np.zeros(waiting, np.bool_)
        doomed[np.argsort(np.concatenate(times), kind="stable")[-over:]] = True
        *of_runs, of_servers = np.split(doomed, np.cumsum([len(part) for part in times])[:-1])
        self.servers = taken(self.servers, ~of_servers)
        for number, mask in enumerate(of_runs):
            run = self.runs[number]
            kept = run["matched"].copy()
            kept[~run["matched"]] = ~mask
            self.runs[number] = taken(run, kept)
        return over


def _find(
    ordered: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which of `wanted` are in `ordered`, and where those are."""
    if not len(ordered):
        return np.zeros(len(wanted), np.bool_), np.zeros(0, np.int64)
    places = np.searchsorted(ordered, wanted)
    places[places == len(ordered)] = 0
    there: npt.NDArray[np.bool_] = ordered[places] == wanted
    return there, places[there]
