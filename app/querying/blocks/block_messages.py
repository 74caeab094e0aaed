"""What a frontend asks a querier about blocks, in one frame, and what comes back.

A querier needs no list of blocks: a job says all that there is to know of the blocks. One frame of the name KEYS,
PARTIAL or SUSPECTS comes back, or an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from app.querying.live.live_messages import (
    in_turns_of,
    keys_of,
    read_limit_of,
    redactions_from_json,
    redactions_to_json,
    tenant_of,
)
from app.querying.suspect_spans import asked_data, asked_from_json, asked_to_json
from app.querying.trace.trace_partial import Further
from app.rpc.frames import RpcFrame
from query.memory import ReadLimit
from query.request_json import BadRequest, Request, from_json, to_json
from query.requests import TraceRequest
from query.scan.shared_traces import NO_KEYS, Keys
from query.scan.suspects import SuspectSpans
from tables.blocks.filter_pack import PackRef
from tables.blocks.meta import BlockMeta
from tables.redaction.rules import Redaction

METHOD: Final = "Frontend"
HELLO: Final = "hello"
JOB: Final = "job"


class Wanted(StrEnum):
    """What a job is to give. Each process must understand the words of all others."""

    KEYS = "keys"  # of the traces of the blocks
    PARTIAL = "partial"  # of a question
    TRACE = "trace"  # what the blocks have of one trace


@dataclass(frozen=True, slots=True)
class BlockFiles:
    """Some files of a block: those from number `first` to before `end`."""

    meta: BlockMeta
    first: int
    end: int

    @property
    def is_whole(self) -> bool:
        """Whether these are all files of the block."""
        return (self.first, self.end) == (0, len(self.meta.files))

    @property
    def name(self) -> str:
        """Different files have different names."""
        return f"{self.meta.block_id}/{self.first}-{self.end}"

    @property
    def size_bytes(self) -> int:
        """Of the files."""
        return sum(file.size_bytes for file in self.meta.files[self.first : self.end])


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockAsk:
    """files: of blocks of the tenant. elsewhere: keys of those of their traces that others have, too
    filter_packs: those that may have their filters
    read_limit: how much the whole query may read
    in_turns, further: of a trace of which not all is wanted: what is, and the question of the second turn
    in_pieces: as of `LiveAsk`
    suspects: what is asked of the rows of shared traces that a partial has had; then `suspects` comes back
    """

    tenant: str
    wanted: Wanted
    request: Request
    files: Sequence[BlockFiles]
    redactions: Sequence[Redaction] = ()
    filter_packs: Sequence[PackRef] = ()
    elsewhere: Keys = field(default_factory=lambda: NO_KEYS)
    read_limit: ReadLimit | None = None
    in_turns: TraceRequest | None = None
    further: Further | None = None
    in_pieces: bool = True
    suspects: SuspectSpans | None = None

    def to_frame(self) -> RpcFrame:
        """The frame of a job."""
        fields = {
            "tenant": self.tenant,
            "wanted": str(self.wanted),
            "request": to_json(self.request),
            "files": [[one.meta.model_dump(), one.first, one.end] for one in self.files],
            "redactions": redactions_to_json(self.redactions),
            "filter_packs": [one.model_dump() for one in self.filter_packs],
            "read_limit": None if self.read_limit is None else list(self.read_limit),
            "in_pieces": self.in_pieces,
        }
        if self.in_turns is not None:
            fields["in_turns"] = to_json(self.in_turns)
        if self.further is not None:
            return RpcFrame(JOB, {**fields, "further": self.further.to_json()}, self.further.data)
        if self.suspects is not None:
            return RpcFrame(JOB, {**fields, "suspects": asked_to_json(self.suspects)}, asked_data(self.suspects))
        return RpcFrame(JOB, fields, self.elsewhere.astype("<u8").tobytes())

    @classmethod
    def from_frame(cls, frame: RpcFrame) -> "BlockAsk":
        """Raises: BadRequest, also where a block is another tenant's"""
        fields = frame.fields
        try:
            tenant, about, suspects = tenant_of(fields), fields.get("further"), fields.get("suspects")
            return cls(
                tenant=tenant,
                wanted=Wanted(fields["wanted"]),
                request=from_json(fields["request"]),
                files=[_files(values, tenant) for values in fields["files"]],
                redactions=redactions_from_json(fields["redactions"]),
                filter_packs=[_pack(values) for values in fields.get("filter_packs", [])],
                elsewhere=keys_of(frame.data) if about is None and suspects is None else NO_KEYS,
                read_limit=read_limit_of(fields),
                in_turns=in_turns_of(fields),
                in_pieces=fields.get("in_pieces") is True,
                further=None if about is None else Further.from_json(about, frame.data),
                suspects=None if suspects is None else asked_from_json(suspects, frame.data),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as err:
            raise err if isinstance(err, BadRequest) else BadRequest(f"a damaged frame {frame.name}: {err!r}") from err


def _files(values: Any, tenant: str) -> BlockFiles:
    meta, first, end = values
    try:
        found = BlockFiles(BlockMeta.model_validate(meta), int(first), int(end))
    except ValidationError as err:
        raise BadRequest(f"a damaged block: {err.errors()[0]['msg']}") from err
    if found.meta.tenant != tenant:
        raise BadRequest("a job names a block of another tenant")
    names = [found.meta.block_id, *(file.name for file in found.meta.files)]
    if any("/" in name or name in {"", ".", ".."} for name in names):
        raise BadRequest("a job names files that cannot be a block's")
    if not 0 <= found.first < found.end <= len(found.meta.files):
        raise BadRequest("a job names files that the block does not have")
    return found


def _pack(values: Any) -> PackRef:
    try:
        found = PackRef.model_validate(values)
    except ValidationError as err:
        raise BadRequest(f"a damaged pack of filters: {err.errors()[0]['msg']}") from err
    if "/" in found.id or found.id in {"", ".", ".."}:
        raise BadRequest("a job names what cannot be a pack of filters")
    return found


def hello(querier: str) -> RpcFrame:
    """What a querier says first. querier: its id as a member"""
    return RpcFrame(HELLO, {"querier": querier})


def querier_of(fields: Mapping[str, Any]) -> str:
    """The id in HELLO. Raises: BadRequest"""
    querier = fields.get("querier")
    if not isinstance(querier, str) or not 0 < len(querier) <= 256:
        raise BadRequest("a querier has not said who it is")
    return querier
