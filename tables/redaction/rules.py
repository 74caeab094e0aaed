"""A redaction: what is to be removed from a tenant's spans.

While it is in force it stands in the tenant's index (`tables.catalog.tenant_index`): flushes leave out what it removes,
and queries hide that in blocks and live parts that still have it.
"""

import uuid
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict

from tables.schema import parse_attribute_column

_NAMESPACE: Final = uuid.UUID("0a5d0c1e-93a4-5b0e-8f43-5a6f0f2f3c77")
EVERY_SCOPE: Final = ""
SCOPES: Final = ("span", "resource", "instrumentation", "event", "link")
_SERVICE: Final = ("resource", "service.name")


class Redaction(BaseModel):
    """What one request removes.

    trace_id: 32 hex digits, "": of all traces
    attribute: with its scope, such as `span.user.email`, or with a dot only for every scope: `.user.email`; its values
    are removed. "": whole spans are removed
    value: only values that are equal to this text; None: all
    since_ns, until_ns: only spans that started in this range, the end excluded; None: open
    created_s: Unix s. kept_until_s: until then spans that Kafka still holds may come back, and it stays in force
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    trace_id: str = ""
    attribute: str = ""
    value: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    created_s: float = 0.0
    kept_until_s: float = 0.0

    @property
    def id(self) -> str:
        """It follows from what is removed: the same request again is the same redaction."""
        what = [self.trace_id, self.attribute, self.value, self.since_ns, self.until_ns]
        return str(uuid.uuid5(_NAMESPACE, orjson.dumps(what).decode()))

    @property
    def scope(self) -> str:
        """One of SCOPES, or EVERY_SCOPE."""
        return self.attribute.partition(".")[0]

    @property
    def key(self) -> str:
        """The attribute's key."""
        return self.attribute.partition(".")[2]

    def concerns(self, start_min_ns: int, end_max_ns: int) -> bool:
        """Whether spans of a file with these times may be concerned."""
        return (self.until_ns is None or start_min_ns < self.until_ns) and (
            self.since_ns is None or end_max_ns >= self.since_ns
        )

    def concerns_column(self, column: str) -> bool:
        """Whether it removes values of a column of the span table."""
        if not self.attribute:
            return False
        if column == "root_service":
            return (self.scope or "resource", self.key) == _SERVICE
        if column == "raw":
            return self.scope in (EVERY_SCOPE, "span", "event", "link")
        if column == "raw_owner":
            return self.scope in (EVERY_SCOPE, "resource", "instrumentation")
        if column in ("events", "links"):
            return self.scope in (EVERY_SCOPE, column[:-1])
        found = parse_attribute_column(column)
        return found is not None and found.key == self.key and self.scope in (EVERY_SCOPE, found.scope)

    def __str__(self) -> str:
        what = f"{self.attribute}{'' if self.value is None else f' = {self.value!r}'}" if self.attribute else "spans"
        return f"{what} of {f'trace {self.trace_id}' if self.trace_id else 'all traces'}"


def parse_attribute(text: str) -> str:
    """An attribute as `Redaction.attribute` has it. Raises: ValueError"""
    scope, dot, key = text.partition(".")
    if not dot or not key or scope not in (EVERY_SCOPE, *SCOPES):
        names = ", ".join(f"{name}." for name in SCOPES)
        raise ValueError(
            f"{text!r} is not an attribute with its scope: begin with {names} or with a dot for every scope"
        )
    return text
