"""The busiest services and edges of a map: clients choose the names, so there may be any number of them."""

import heapq
from collections.abc import Iterable
from operator import attrgetter
from typing import Final, Generic, TypeVar

from prometheus_client import Counter

from app.api.page.service_stats import Edge, Node

T = TypeVar("T", Edge, Node)

# More than anybody reads in a table.
NODES_MAX: Final = 5000

EDGES_LIMITED: Final = Counter(
    "stretto_service_map_edges_limited_total",
    "Service maps that lack the least busy edges, since there are more than ui.service_graph.edges_max.",
)
NODES_LIMITED: Final = Counter(
    "stretto_service_map_services_limited_total",
    f"Service maps that lack the least busy services and databases, since there are more than {NODES_MAX}.",
)


class Busiest(Generic[T]):
    """Those with the most requests. It never holds more than three times as many as it gives."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: list[T] = []
        self.limited = False

    def add(self, some: Iterable[T]) -> None:
        """Takes some more; those with few requests may be dropped at once."""
        for one in some:
            self._found.append(one)
            if len(self._found) > 3 * self._most:
                self._cut()

    def all(self) -> list[T]:
        """The busiest; in the order in which they came where none is left out."""
        if len(self._found) > self._most:
            self._cut()
        return self._found

    def _cut(self) -> None:
        self.limited = True
        self._found = heapq.nlargest(self._most, self._found, key=attrgetter("stats.count"))


def shown(nodes: Busiest[Node], edges: Busiest[Edge], edges_max: int) -> tuple[list[Node], list[Edge], list[str]]:
    """What a map shows, and a line for each limit that it has reached, which is counted."""
    found, missing = (nodes.all(), edges.all()), []
    if nodes.limited:
        NODES_LIMITED.inc()
        missing.append(f"only the {NODES_MAX} busiest services and databases are shown")
    if edges.limited:
        EDGES_LIMITED.inc()
        missing.append(f"only the {edges_max} busiest edges are shown (ui.service_graph.edges_max)")
    return *found, missing
