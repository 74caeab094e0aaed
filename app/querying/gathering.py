"""Merges what the participants of a query answer, as they answer.

Where a question concerns whole traces, everybody first says which traces it has: so that each learns which of them
others have, too, and sends their rows instead of judging them alone (docs/adr/0015-scan.md). Then all work at once. Of
rows that look like each other those who have them say whether a client has sent one twice (`query.scan.suspects`). A
search ends, and gives up the others, when no answer that is still to come can change its own.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import numpy as np
from prometheus_client import Counter

from app.querying.participants import Participant
from app.querying.questions import Kind, Partial, kind_of
from app.querying.running.executor import QueryExecutor
from app.querying.suspect_spans import SuspectsFound
from app.querying.trace.trace_partial import ChangedPart
from query.metrics import metrics
from query.request_json import Request
from query.requests import InstantRequest, RangeRequest, SearchRequest
from query.results import Inspected, MetricsResult, SearchResult
from query.scan.progress import QueryObserver
from query.scan.shared_traces import NO_KEYS, Keys, keys_in_several
from query.scan.suspects import SuspectSpans, find_suspects
from query.search.settled import may_be_settled, settled
from tables.columns.sorted_sets import is_among, unique

T = TypeVar("T")
# What takes about a millisecond is done on the event loop.
_COMPARED_HERE_MAX: Final = 10_000
_FINISHED_HERE_BYTES_MAX: Final = 32 << 10

SUSPECT_SPANS: Final = Counter(
    "stretto_query_suspect_spans_total",
    "Spans of queries that looked like others, perhaps of another process, so that processes compared them: clients "
    "may have sent them twice.",
)


async def gather(
    participants: Sequence[Participant], request: Request, observer: QueryObserver, executor: QueryExecutor
) -> Any:
    """The answer. Raises: whatever a participant raises, when the others are given up"""
    kind = kind_of(request)
    elsewhere: list[Keys] = [NO_KEYS] * len(participants)
    if len(participants) > 1 and kind.concerns_traces(request):
        with observer.profile.stage("find shared traces"):
            elsewhere = await _shared(participants, executor)
    return await _Gathering(kind, request, observer, executor, participants, elsewhere).run()


async def _shared(participants: Sequence[Participant], executor: QueryExecutor) -> list[Keys]:
    """For each participant the keys of those of its traces that others have, too."""
    lists = await all_of([participant.keys() for participant in participants])
    executor.budget().reserve(2 * sum(keys.nbytes for keys in lists), "the keys of traces in several places")

    def compare() -> list[Keys]:
        shared = keys_in_several(lists)
        return [keys[is_among(keys, shared)] for keys in lists]

    return await executor.run_where_it_fits(compare, small=sum(map(len, lists)) <= _COMPARED_HERE_MAX)


class _Gathering:
    def __init__(
        self,
        kind: Kind,
        request: Request,
        observer: QueryObserver,
        executor: QueryExecutor,
        participants: Sequence[Participant],
        elsewhere: Sequence[Keys],
    ) -> None:
        self._kind, self._request, self._observer, self._executor = kind, request, observer, executor
        self._participants, self._elsewhere = participants, elsewhere
        self._partials: dict[int, Partial] = {}  # by the number of the participant
        self._silent: set[int] = set()  # participants of former versions, which cannot say what is the same

    async def run(self) -> Any:
        tasks = {
            asyncio.ensure_future(one.partial(keys)): number
            for number, (one, keys) in enumerate(zip(self._participants, self._elsewhere, strict=True))
        }
        left = set(tasks)
        try:
            while left:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                self._partials |= {tasks[task]: task.result() for task in done}
                # Each worker knows what it has read itself; only here it is known what all have read.
                self._check_read()
                if left and (answer := await self._early([tasks[task] for task in left])) is not None:
                    return await self._enough(answer)
            await self._compare()
            with self._observer.profile.stage("merge"):
                partials = list(self._partials.values())
                small = sum(map(self._kind.size_bytes, partials)) <= _FINISHED_HERE_BYTES_MAX
                answer = await self._executor.run_where_it_fits(lambda: self._finished(partials), small=small)
            self._executor.budget().check_read(answer.inspected.bytes)  # with what shared traces took
            return await self._enough(answer)
        finally:
            await cancel_all(tasks)

    def _finished(self, partials: Sequence[Partial]) -> Any:
        try:
            return self._kind.finish(partials, self._request)
        finally:
            for one in partials:
                self._kind.drop(one)

    def _check_read(self) -> None:
        self._executor.budget().check_read(sum(one.inspected.bytes for one in self._partials.values()))

    async def _enough(self, answer: Any) -> Any:
        for number in self._partials:
            await self._participants[number].enough()
        return answer

    async def _compare(self) -> None:
        """Finds out which rows of shared traces a client has sent twice, as far as they have come: those who have some
        that look like others give them again, with digests.
        """
        numbers = [number for number, one in self._partials.items() if one.shared_rows is not None]
        if not numbers:
            return
        tables = [self._partials[number].shared_rows for number in numbers]
        small = sum(table.num_rows for table in tables) <= _COMPARED_HERE_MAX
        found = await self._executor.run_where_it_fits(lambda: find_suspects(tables), small=small)
        asked = {numbers[at]: one for at, one in found.items() if numbers[at] not in self._silent}
        if not asked:
            return
        SUSPECT_SPANS.inc(sum(len(one.spans) for one in asked.values()))
        with self._observer.profile.stage("compare spans sent twice"):
            answers = await all_of(self._participants[number].suspects(one) for number, one in asked.items())
            for (number, one), answer in zip(asked.items(), answers, strict=True):
                if answer is None:
                    self._silent.add(number)
                else:
                    await self._replace_rows(number, one, answer)
        self._check_read()

    async def _replace_rows(self, number: int, asked: SuspectSpans, found: SuspectsFound) -> None:
        partial = self._partials[number]

        def replaced() -> Any:
            rows = asked.replaced_in(partial.shared_rows, found.rows)
            if rows is None:
                raise ChangedPart
            return replace(partial, shared_rows=rows, inspected=partial.inspected + found.inspected)

        small = partial.shared_rows.num_rows <= _COMPARED_HERE_MAX
        self._partials[number] = await self._executor.run_where_it_fits(replaced, small=small)

    async def _early(self, left: Sequence[int]) -> Any:
        """The whole answer, if it is known although some have not answered; else tells what is known of it."""
        latest_ns = max(self._participants[number].latest_ns for number in left)
        progress, request = self._observer.progress, self._request
        tells = progress is not None and progress.due()
        if isinstance(request, SearchRequest):
            if not tells and not may_be_settled(list(self._partials.values()), request, latest_ns):
                return None
            await self._compare()
            partials = list(self._partials.values())
            unready = [self._elsewhere[number] for number in left]
            first, whole = await self._executor.run_in_thread(
                lambda: settled(partials, request, latest_ns, unique(np.concatenate(unready)))
            )
            if whole:
                return first
            found: SearchResult | MetricsResult = first
        elif isinstance(request, RangeRequest | InstantRequest):
            if not tells:
                return None
            known = list(self._partials.values())
            found = await self._executor.run_in_thread(lambda: metrics.settled(known, request, latest_ns))
        else:
            return None
        if progress is not None and tells:
            progress.tell(replace(found, inspected=found.inspected + Inspected(left=len(left))))
        return None


async def all_of(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them give, in their order. If one fails, the others are given up. Raises: what the first raised"""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await cancel_all(tasks)


async def cancel_all(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Gives up what is not done, and waits until it has ended; whatever errors there are nobody hears of."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
