"""Spans of what this process itself does. They cost nothing until `use` has a tracer: app/process/own_traces.py.

Spans nest as tasks do: a span that is begun inside of another one's `with`, or in a task that began there, is its
child.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, copy_context
from typing import Any, Final, Literal, Protocol

Kind = Literal["internal", "server", "client"]
SERVER: Final = "server"
CLIENT: Final = "client"
INTERNAL: Final = "internal"
# The attribute of the resource by which own spans are known wherever they come from.
OWN: Final = "stretto.own_traces"
TRACEPARENT: Final = "traceparent"  # the header and the field of frames

Attributes = Mapping[str, Any]


class OwnSpan:
    """A span, or what stands for it where none is recorded."""

    is_recording: bool = False
    log_fields: Mapping[str, str] = {}  # what log lines about the same say of it

    def set(self, attributes: Attributes) -> None:
        """Adds attributes. Values are texts, numbers, booleans."""

    @property
    def traceparent(self) -> str:
        """As W3C's header; "": nothing that another process should continue."""
        return ""


class Tracer(Protocol):
    """Begins spans."""

    def span(self, name: str, attributes: Attributes, kind: Kind, parent: str) -> AbstractContextManager[OwnSpan]:
        """A span of a query. parent: W3C's traceparent of another process, "" where there is none"""
        ...

    def ingest(self, attributes: Attributes, body: bytes) -> AbstractContextManager[OwnSpan]:
        """A span of a request with spans, for few of them, and never for one that has own spans."""
        ...

    def background(
        self, name: str, attributes: Attributes, tenants: Mapping[str, int]
    ) -> AbstractContextManager[OwnSpan]:
        """A span of work with the stored spans of tenants, how many of each; none if all of them are own spans."""
        ...


NO_SPAN: Final = OwnSpan()
_OFF: Final[AbstractContextManager[OwnSpan]] = nullcontext(NO_SPAN)
_incoming: ContextVar[str] = ContextVar("traceparent", default="")
_used: list[Tracer] = []


def use(tracer: Tracer | None) -> None:
    """Begins spans with this tracer from now on; None: begins none."""
    _used[:] = [] if tracer is None else [tracer]


def take_incoming(traceparent: str | None) -> None:
    """What the request that this task answers says of the trace it belongs to; None or "": nothing."""
    if _used:
        _incoming.set(traceparent or "")


def parent_of(fields: Attributes) -> str:
    """What the first frame of another process says of the trace; "": nothing."""
    found = fields.get(TRACEPARENT, "")
    return found if isinstance(found, str) else ""


def span(
    name: str, attributes: Attributes, *, kind: Kind = INTERNAL, parent: str = ""
) -> AbstractContextManager[OwnSpan]:
    """A span of a query or a part of it. parent: of another process; "": the span around, or `take_incoming`"""
    return _used[0].span(name, attributes, kind, parent or _incoming.get()) if _used else _OFF


def ingest(attributes: Attributes, body: bytes) -> AbstractContextManager[OwnSpan]:
    """See `Tracer.ingest`."""
    return _used[0].ingest(attributes, body) if _used else _OFF


def begin_ingest(attributes: Attributes, body: bytes) -> Callable[[BaseException | None], None] | None:
    """As `ingest`, for a request that has no task of its own. Out: what ends the span, with the error if there was one;
    only its first call counts. None: no span is recorded. Spans cannot nest in it.
    """
    made = ingest(attributes, body)
    if isinstance(made, nullcontext):
        return None
    # Its beginning and its end are in one context, whoever calls: what it makes the current span is so nowhere else.
    context = copy_context()
    context.run(made.__enter__)
    begun = [made]

    def end(err: BaseException | None) -> None:
        while begun:
            context.run(begun.pop().__exit__, None if err is None else type(err), err, None)

    return end


def background(name: str, attributes: Attributes, tenants: Mapping[str, int]) -> AbstractContextManager[OwnSpan]:
    """See `Tracer.background`."""
    return _used[0].background(name, attributes, tenants) if _used else _OFF
