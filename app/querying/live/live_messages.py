"""What a frontend and a live store say to each other in one conversation of the method `LiveStore`.

→ ask: the tenant, the request, the partitions with the offsets from which on they are asked for
← opened: the status of each partition, and whether there is anything of the tenant; if not, this is all
← keys: of the traces, where the frontend wants to know them (`query.scan.shared_traces`)
→ evaluate: the keys of the traces that others have, too
← partial: as Arrow IPC; of a trace its spans

Of a trace of which not all is wanted, after the partial (`query.trace.parts`):
→ further: a question about some of its rows, which `partial` answers; or enough

After a partial with rows of shared traces, where both know of it (`query.scan.suspects`):
→ further: a question about spans that a client may have sent twice, which `suspects` answers; or enough

Everything is about the state of the live store at the moment when it answered `opened`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from app.querying.live.live_view import PartitionStatus
from app.rpc.frames import RpcFrame
from query.memory import ReadLimit
from query.request_json import BadRequest, Request, from_json, to_json
from query.requests import TraceRequest
from query.scan.shared_traces import Keys
from tables.redaction.rules import Redaction
from tables.tenant import valid_tenant

METHOD: Final = "LiveStore"
ASK: Final = "ask"
OPENED: Final = "opened"
KEYS: Final = "keys"
EVALUATE: Final = "evaluate"
PARTIAL: Final = "partial"
FURTHER: Final = "further"
ENOUGH: Final = "enough"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAsk:
    """partitions: by number, the first offset that is asked for
    wants_keys: whether `keys` is expected, and `evaluate` will come
    behind_too: whether partitions that are BEHIND are to be answered as far as they are
    redactions: what the asker knows to be removed, besides what the live store knows
    read_limit: how much the whole query may read
    in_turns: of a trace of which not all is wanted: what is. Processes of former versions give all spans
    in_pieces: whether the asker can put pieces of traces together; processes of former versions do not say it
    of_suspects: whether the asker asks about spans that a client may have sent twice; the same
    """

    tenant: str
    request: Request
    partitions: Mapping[int, int]
    wants_keys: bool = False
    behind_too: bool = False
    redactions: Sequence[Redaction] = ()
    read_limit: ReadLimit | None = None
    in_turns: TraceRequest | None = None
    in_pieces: bool = True
    of_suspects: bool = True

    def to_frame(self) -> RpcFrame:
        """The frame that begins a conversation."""
        fields = {
            "tenant": self.tenant,
            "request": to_json(self.request),
            "partitions": {str(number): offset for number, offset in self.partitions.items()},
            "wants_keys": self.wants_keys,
            "behind_too": self.behind_too,
            "redactions": redactions_to_json(self.redactions),
            "read_limit": None if self.read_limit is None else list(self.read_limit),
            "in_pieces": self.in_pieces,
            "of_suspects": self.of_suspects,
        }
        return RpcFrame(ASK, fields if self.in_turns is None else {**fields, "in_turns": to_json(self.in_turns)})

    @classmethod
    def from_frame(cls, frame: RpcFrame) -> "LiveAsk":
        """The question in a frame that `to_frame` made. Raises: BadRequest where it is damaged"""
        fields = frame.fields
        try:
            partitions = {int(number): int(offset) for number, offset in fields["partitions"].items()}
            return cls(
                tenant=tenant_of(fields),
                request=from_json(fields["request"]),
                partitions=partitions,
                wants_keys=bool(fields["wants_keys"]),
                behind_too=bool(fields["behind_too"]),
                redactions=redactions_from_json(fields["redactions"]),
                read_limit=read_limit_of(fields),
                in_turns=in_turns_of(fields),
                in_pieces=fields.get("in_pieces") is True,
                of_suspects=fields.get("of_suspects") is True,
            )
        except (LookupError, TypeError, AttributeError, ValueError) as err:
            raise err if isinstance(err, BadRequest) else BadRequest(f"a damaged frame {frame.name}: {err!r}") from err


def tenant_of(fields: Mapping[str, Any]) -> str:
    """The tenant whose data a frame asks for. Raises: BadRequest where that is no tenant's name"""
    tenant = fields.get("tenant")
    if not isinstance(tenant, str) or not valid_tenant(tenant):
        raise BadRequest("a call names no tenant, or one that cannot be")
    return tenant


def read_limit_of(fields: Mapping[str, Any]) -> ReadLimit | None:
    """How much the query of a frame may read; None: there is no limit. Raises: BadRequest"""
    match fields.get("read_limit"):
        case None:
            return None
        case [int(bytes_max), str(setting), str(tenant)]:
            return ReadLimit(bytes_max, setting, tenant)
        case other:
            raise BadRequest(f"a damaged limit of bytes: {str(other)[:100]}")


def in_turns_of(fields: Mapping[str, Any]) -> TraceRequest | None:
    """What is wanted of a trace; None: all that the frame's request says. Raises: BadRequest"""
    if (values := fields.get("in_turns")) is None:
        return None
    found = from_json(values)
    if not isinstance(found, TraceRequest):
        raise BadRequest("only what is wanted of a trace is asked for in turns")
    return found


def redactions_to_json(redactions: Sequence[Redaction]) -> list[Any]:
    """For a frame's fields."""
    return [each.model_dump() for each in redactions]


def redactions_from_json(values: Any) -> tuple[Redaction, ...]:
    """What `redactions_to_json` made. Raises: BadRequest"""
    try:
        return tuple(Redaction.model_validate(each) for each in values)
    except (TypeError, ValidationError) as err:
        raise BadRequest(f"damaged redactions: {err!r}") from err


def opened(statuses: Mapping[int, PartitionStatus], *, has_spans: bool) -> RpcFrame:
    """The frame with the statuses. has_spans: whether any of the partitions has spans of the tenant; if not, the
    conversation ends here
    """
    fields = {"statuses": {str(number): str(status) for number, status in statuses.items()}, "has_spans": has_spans}
    return RpcFrame(OPENED, fields)


def has_spans(frame: RpcFrame) -> bool:
    """What `opened` was given."""
    return frame.fields.get("has_spans") is not False


def partial_frame(data: bytes, *, waits: bool = False) -> RpcFrame:
    """The frame with a partial. waits: whether `further` or `enough` is expected"""
    return RpcFrame(PARTIAL, {"waits": True} if waits else {}, data)


def waits(frame: RpcFrame) -> bool:
    """What `partial_frame` was given; processes of former versions wait for nothing."""
    return frame.fields.get("waits") is True


def statuses_of(frame: RpcFrame) -> dict[int, PartitionStatus]:
    """Raises: BadRequest"""
    try:
        return {int(number): PartitionStatus(status) for number, status in frame.fields["statuses"].items()}
    except (KeyError, AttributeError, ValueError) as err:
        raise BadRequest(f"a damaged frame {frame.name}: {err!r}") from err


def keys_frame(name: str, keys: Keys) -> RpcFrame:
    """Keys of traces as a frame."""
    return RpcFrame(name, data=keys.astype("<u8").tobytes())


def keys_of(data: bytes) -> Keys:
    """The keys of a frame. Raises: BadRequest"""
    if len(data) % 8:
        raise BadRequest("keys of traces have 8 bytes each")
    return np.frombuffer(data, "<u8").astype(np.uint64)


def expect(frame: RpcFrame, name: str) -> RpcFrame:
    """The frame, if it has the name. Raises: BadRequest"""
    if frame.name != name:
        raise BadRequest(f"expected a frame {name}, not {frame.name[:40]}")
    return frame
