"""Frames on their way: whatever goes in comes out, in pieces that gRPC takes; anything else is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.errors import TooManyRequests, Unavailable
from app.rpc.errors import InternalError, from_frame, to_frame
from app.rpc.frames import PIECE_BYTES, BadFrame, FrameReader, RpcFrame, to_messages
from query.errors import TraceQLError, TraceTooLarge
from query.memory import MemoryExceeded, QueriesTooLarge, QueryTooLarge
from query.request_json import BadRequest
from tables.errors import DamagedError, OutdatedError
from tests.helpers.examples import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FRAMES = st.builds(
    RpcFrame, st.text(max_size=10), st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.binary(max_size=100)
)


@settings(max_examples=examples(30))
@given(st.lists(FRAMES, max_size=4))
def test_round_trip(frames: list[RpcFrame]) -> None:
    reader = FrameReader(1000)
    made = [reader.take_message(message) for frame in frames for message in to_messages(frame)]
    assert [frame for frame in made if frame is not None] == frames


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_large_ones_come_in_pieces(size: int) -> None:
    frame = RpcFrame("x", {}, bytes(size))
    messages = list(to_messages(frame))
    assert len(messages) == max(1, -(-size // PIECE_BYTES))
    assert max(map(len, messages)) < PIECE_BYTES + 100
    reader = FrameReader(size)
    assert [reader.take_message(message) for message in messages][-1] == frame
    if size:
        with pytest.raises(BadFrame, match=r"server\.internal_message_bytes_max"):
            FrameReader(size - 1).take_message(messages[0])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 11,
        b"\xff" * 12,
        b"\2\0\0\0" + b"\0" * 8 + b"{}",
        b"\2\0\0\0" + b"\0" * 8 + b"[]",
        b"\0" * 12 + b"x",
    ],
)
def test_damaged(message: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader(1000).take_message(message)


@pytest.mark.parametrize(
    "err",
    [
        TraceQLError("wrong", "{ x", 2, 3, "hint"),
        TraceTooLarge(b"\1" * 16, 5, "5 bytes", 4),
        QueryTooLarge("much"),
        QueriesTooLarge("all"),
        MemoryExceeded("none"),
        TooManyRequests("later"),
        Unavailable("away", 30.0),
        DamagedError("blocks/t/b/data-0000.parquet", "is gone"),
        OutdatedError("replaced"),
        TimeoutError("slow"),
        BadRequest("no"),
    ],
    ids=lambda err: type(err).__name__,
)
def test_errors_come_out_as_they_went_in(err: Exception) -> None:
    """Of the same kind, for whoever handles them, with their text."""
    found = from_frame(to_frame(err, "a test"))
    assert isinstance(found, type(err))
    assert str(found) == str(err)
    for name in ("retry_after_s", "path"):
        assert getattr(found, name, None) == getattr(err, name, None)
    if isinstance(err, DamagedError):
        assert isinstance(found, DamagedError)
        assert found.problem == err.problem


def test_other_errors_stay_where_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """Their text may concern others; the log has it, under a word."""
    frame = to_frame(KeyError("secret"), "a job")
    found = from_frame(frame)
    assert isinstance(found, InternalError)
    assert "secret" not in str(frame)
    assert str(found).rpartition(" ")[2] in caplog.text
    assert "secret" in caplog.text


@pytest.mark.parametrize("fields", [{}, {"kind": "unavailable"}, {"kind": "damaged", "text": "x"}, {"kind": 3}])
def test_damaged_errors(fields: dict[str, object]) -> None:
    assert isinstance(from_frame(RpcFrame("error", fields)), InternalError)
