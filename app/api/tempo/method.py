"""One method of tempopb.StreamingQuerier: how its messages become a request value, and an answer becomes messages."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.api.backend import Backend
from app.api.limits import ApiLimits
from query.scan.progress import QueryObserver

Request = TypeVar("Request")
Result = TypeVar("Result")
Message = Any  # of tempo_pb2, or what has SerializeToString as these do
Params = Mapping[str, str]  # texts, under the names that they have in a URL


def _all(result: Result, _: Result) -> Result:
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[Request, Result]):
    """A row of `streaming.METHODS`. Each endpoint's file has those that ask the same as it."""

    message: Any  # the class of the message that asks
    params: Callable[[Any], dict[str, str]]  # that message as parameters of the HTTP API
    request: Callable[[Params, ApiLimits], Request]  # of app.api.params
    ask: Callable[[Backend], Callable[[str, Request, QueryObserver], Awaitable[Result]]]
    messages: Callable[[Params, Result], Iterator[Message]]
    progress: Message  # only says that the query runs, where nothing more is known
    since: Callable[[Result, Result], Result] = _all  # what of a result is new to one who knows an earlier one


def texts(**fields: Any) -> dict[str, str]:
    """Fields of a message as parameters: one that is zero is not there."""
    return {name: str(value) for name, value in fields.items() if value}
