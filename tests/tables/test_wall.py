"""The wall around native code, and what requests are checked for before ptars sees them."""

import asyncio
import random
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tables.columns.varint import varint
from tables.errors import WireError
from tables.wall import NativePanic, walled
from tables.wire.otlp.descriptor import RequestHandler
from tables.wire.otlp.framing import GROUPS_MAX, Framing
from tests.helpers.live.whole_way import DECODER, request, span
from tests.helpers.receiving.hostile import FRAMES, HUGE, HUGE_LENGTHS, groups, inside, spread_groups
from tests.helpers.receiving.panics import PanicException


def raising(error: BaseException) -> Any:
    raise error


def panics() -> float:
    return REGISTRY.get_sample_value("stretto_native_panics_total") or 0.0


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), MemoryError(), ValueError("v")],
)
def test_what_passes_the_wall(error: BaseException) -> None:
    """What ends a task or the process, and what is an error already: the very same."""
    before = panics()
    with pytest.raises(type(error)) as caught:
        walled(raising, error)
    assert caught.value is error
    assert panics() == before


def test_a_panic_becomes_an_error() -> None:
    """With its words, counted, without a chain that keeps the bytes alive."""
    before = panics()
    with pytest.raises(NativePanic, match="PanicException: slice index") as caught:
        walled(raising, PanicException("slice index " + "x" * 10_000))
    assert len(str(caught.value)) < 300
    assert caught.value.__cause__ is None
    assert panics() == before + 1
    assert walled(divmod, 7, 2) == (3, 1)


def test_a_real_panic() -> None:
    """ptars' own, which the framing otherwise rules out: an error, and the handler goes on."""
    handler, before = RequestHandler(), panics()
    with pytest.raises(WireError, match="gave up on it") as caught:
        handler.decode([request([span(1)]), HUGE_LENGTHS["span"]])
    assert caught.value.reason == "panic"
    assert panics() == before + 1
    assert handler.decode([request([span(1)])]).num_rows == 1


@pytest.mark.parametrize("body", [*HUGE_LENGTHS.values(), groups(GROUPS_MAX + 1), spread_groups(GROUPS_MAX + 1)])
def test_what_is_ruled_out(body: bytes) -> None:
    """Alone and inside a batch, before ptars sees it."""
    before = panics()
    for bodies in ([body], [request([span(1)]), body]):
        with pytest.raises(WireError, match="not an OTLP ExportTraceServiceRequest"):
            DECODER.decode(bodies)
    assert panics() == before


@pytest.mark.parametrize(
    "body",
    [
        request([span(n, attributes={"a": "cks{" * 2000}) for n in range(1, 40)]),
        request([span(1, name="ÿÿÿÿÿÿ")]),
        inside(0x0A, 0x12, 0x12, body=bytes(span(1).SerializeToString()) + b"\x1b" * 50 + b"\x1c" * 50),
        inside(0x0A, 0x12, 0x12, body=bytes(span(1).SerializeToString()) + b"\x1b" * 20_000 + b"\x1c" * 20_000),
    ],
)
def test_what_only_looks_like_it(body: bytes) -> None:
    """Is decoded as ever."""
    assert len(DECODER.decode([body]).spans) > 0


def test_negative_integers_are_ordinary() -> None:
    """They end like a huge length, and are no reason to refuse anything."""
    attribute = inside(0x4A, body=b"\x0a\x01n" + inside(0x12, body=b"\x18" + varint(2**64 - 1)))
    body = inside(0x0A, 0x12, 0x12, body=bytes(span(1).SerializeToString()) + attribute)
    assert HUGE in body
    (pairs,) = DECODER.decode([body]).spans.column("attributes").to_pylist()
    assert pairs[0]["int_value"] == -1


def test_mutated_requests_never_panic() -> None:
    """What passes the framing is decoded or refused; and where protobuf reads a frame, so does ptars."""
    chance, framing, handlers = random.Random(11), Framing(), [RequestHandler(), RequestHandler(texts=False)]
    seeds = [request([span(1, attributes={"a": "b"}), span(2)], service_name="s"), request([span(3)])]
    parts = [*FRAMES.values(), HUGE, b"\xff" * 10, b"\x80" * 9 + b"\x01", b"\x0b" * 20, b"\xf5" + b"\xff" * 8 + b"\x01"]
    before, refused = panics(), 0
    for number in range(6000):
        body = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(body))
            match chance.randrange(4):
                case 0:
                    body[at] = chance.randrange(256)
                case 1:
                    body[at:at] = chance.choice(parts)
                case 2:
                    body[at : at + 10] = chance.choice(parts)
                case _:
                    del body[at : at + chance.randrange(1, 6)]
            body = body or bytearray(b"\x0a")
        try:
            framing.check(bytes(body))
            handlers[number % 2].decode([bytes(body)])
        except WireError:
            refused += 1
    assert panics() == before
    assert 1000 < refused < 6000
