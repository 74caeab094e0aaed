"""A backend that answers from one small head of this process: the query path without Kafka, threads and storage."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from benchmarks.hostile.examples import records
from tables.live.head import Head
from tests.fuzz.rest import head_record
from tests.helpers.querying.engine import Engine

T = TypeVar("T")


@cache
def head() -> Head:
    """The example requests, unsealed."""
    made = Head()
    for value in records():
        made.append(head_record(value))
    return made


def sources() -> list[Any]:
    return list(head().sources(len(head().records)))


class LocalBackend(Engine):
    """`app.api.backend.Backend` over `sources`, on one thread: what is made is made where the fuzzer can see it."""

    def __init__(self) -> None:
        super().__init__(sources())

    async def run_in_thread(self, make: Callable[[], T]) -> T:
        return make()
