"""Topics of others: which are read, in what encoding; what becomes of what cannot be read."""

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from faust.types import TP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import REGISTRY

from agents.distributor import dead_letters
from agents.distributor.agent import _Batcher
from agents.distributor.dead_letters import DeadLetter, DeadLetters
from agents.distributor.encodings import ENCODINGS
from agents.distributor.sources import TopicSource, TopicSources
from agents.distributor.span_writer import Outcome
from agents.stream.kafka_client import KafkaClient
from tests.helpers.receiving.hostile import writer
from tests.helpers.receiving.kafka_messages import MESSAGES, OTLP_JSON
from tests.helpers.receiving.zipkin import FULL

WRITTEN_S = 1_700_000_000.5


def message(topic: str, value: bytes | None, offset: int = 0, headers: Any = (), key: bytes | None = None) -> Any:
    place = {"topic": topic, "partition": 0, "tp": TP(topic, 0), "offset": offset, "generation_id": 1}
    return SimpleNamespace(value=value, headers=headers, key=key, timestamp=WRITTEN_S, **place)


class Dead:
    """In place of the dead-letter topic."""

    def __init__(self) -> None:
        self.got: list[DeadLetter] = []

    async def write(self, letters: list[DeadLetter]) -> None:
        self.got += letters


def take(sources: TopicSources, *messages: Any, writes: Any = None) -> tuple[Any, Dead, dict[TP, int]]:
    """What was written, what went to the dead letters, the offsets that were committed."""
    made, producer = writer()
    committed: dict[TP, int] = {}
    dead = Dead()

    async def commit_through(ends: dict[TP, int]) -> None:
        committed.update(ends)

    consumer = SimpleNamespace(commit_through=commit_through)
    app: Any = SimpleNamespace(consumer=consumer, consumer_generation_id=1)

    async def main() -> None:
        batcher = _Batcher(app, writes or made, sources, dead=dead)  # type: ignore[arg-type]
        for one in messages:
            await batcher.add(SimpleNamespace(message=one))
        async with asyncio.timeout(20):
            await batcher._write()

    asyncio.run(main())
    return producer, dead, committed


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding(encoding: str) -> None:
    """A good message is one span, or one of each side; what is none is skipped, and the partition goes on."""
    sources = TopicSources([TopicSource(["otlp_spans"], tenant="t"), TopicSource(["^foreign.*"], encoding, tenant="t")])
    bad = b"\xff\xfe" * 50
    producer, dead, committed = take(
        sources,
        message("foreign-1", MESSAGES[encoding], 0),
        message("foreign-1", bad, 1, [("a", b"b")], b"k"),
        message("foreign-1", MESSAGES[encoding], 2),
    )
    assert producer.spans() == {"t": 4 if encoding == "zipkin_thrift" else 2}
    assert committed == {TP("foreign-1", 0): 3}
    ((letter, reason, error),) = dead.got
    assert (letter.value, letter.key, letter.offset, reason) == (bad, b"k", 1, "malformed")
    assert error


def test_large_messages_are_translated_on_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As small ones are; the bad one among them alone is left out."""
    many = json.dumps([{**FULL, "id": f"{n + 1:016x}"} for n in range(200)]).encode()
    sources = TopicSources([TopicSource(["z"], "zipkin_json", tenant="t")])
    producer, dead, _ = take(sources, *(message("z", many, n) for n in range(3)), message("z", b"[{}]", 3))
    assert producer.spans() == {"t": 600}
    assert [letter.message.offset for letter in dead.got] == [3]
    assert "traceId" in dead.got[0].error


def test_jaeger_in_both_encodings_is_the_same() -> None:
    found = [ENCODINGS[name](MESSAGES[name], 0, 1.0).body for name in ("jaeger_proto", "jaeger_json")]  # type: ignore[misc]
    assert found[0] == found[1]


def test_spans_without_time_begin_when_the_message_was_written() -> None:
    """Whenever it is read: a replay makes the same span."""

    class Writer:
        async def write(self, requests: list[Any]) -> list[Any]:
            self.got = requests
            return [Outcome(1)] * len(requests)

    writes = Writer()
    timeless = {key: FULL[key] for key in ("traceId", "id", "name")}
    sources = TopicSources([TopicSource(["z"], "zipkin_json", tenant="t")])
    take(sources, message("z", json.dumps([timeless]).encode()), writes=writes)
    found = ExportTraceServiceRequest.FromString(writes.got[0].body)
    assert found.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano == WRITTEN_S * 1e9


def test_spans_in_fields_that_otlp_does_not_have(caplog: pytest.LogCaptureFixture) -> None:
    def discarded() -> float:
        return REGISTRY.get_sample_value("stretto_spans_discarded_total", {"reason": "unknown_field"}) or 0.0

    before = discarded()
    body = json.dumps(OTLP_JSON | {"spans": [{"spanId": "02" * 8}]}).encode()
    with caplog.at_level(logging.WARNING):
        producer, dead, _ = take(TopicSources([TopicSource(["j"], "otlp_json", tenant="t")]), message("j", body, 7))
    assert (producer.spans(), dead.got, discarded() - before) == ({"t": 1}, [], 1)
    assert "j[0]@7: 1 spans are in spans" in caplog.text


def test_which_topics() -> None:
    """Names before patterns, in the order of the settings; never Kafka's own topics, nor ours."""
    sources = TopicSources(
        [
            TopicSource(["otlp_spans"]),
            TopicSource(["^team-.*", "^z"], "zipkin_json", ["team-quiet", "^team-x.*"]),
            TopicSource(["team-b", "late"], "jaeger_proto"),
        ],
        never=["team-spans"],
    )
    assert sources.has_patterns
    assert sources.topics == ["otlp_spans", "team-b", "late"]
    there = ["team-a", "team-b", "team-quiet", "team-xy", "team-spans", "z", "zz", "other", "__consumer_offsets"]
    there += ["team-compactor-__assignor-__leader"]
    assert sources.found(there) == ["team-a", "z"]
    by_topic = {topic: sources.source_of(topic).encoding for topic in ("otlp_spans", "team-a", "team-b")}
    assert by_topic == {"otlp_spans": "otlp_proto", "team-a": "zipkin_json", "team-b": "jaeger_proto"}


class Producer:
    """In place of aiokafka's."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.sent = list(errors), list[Any]()

    async def send_and_wait(self, topic: str, value: Any, key: Any, headers: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append((topic, value, key, headers))

    async def stop(self) -> None:
        pass


@pytest.mark.parametrize(
    ("errors", "result"),
    [
        ([], "written"),
        ([KafkaConnectionError(), TimeoutError()], "written"),
        ([MessageSizeTooLargeError()], "lost"),
    ],
)
def test_dead_letters(errors: list[Exception], result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kafka does not take now is sent again, what it never takes is counted."""
    monkeypatch.setattr(dead_letters, "_AGAIN_S", 0.001)
    producer = Producer(*errors)
    made = DeadLetters(KafkaClient.plain("127.0.0.1:1"), "dead", 1 << 20)

    async def opened() -> Producer:
        return producer

    monkeypatch.setattr(made, "_opened", opened)
    before = REGISTRY.get_sample_value("stretto_dead_letters_total", {"result": result}) or 0.0
    letter = DeadLetter(message("z", b"x", 5, [("a", b"b")], b"k"), "malformed", "no \ud800 JSON")
    asyncio.run(made.write([letter]))
    assert REGISTRY.get_sample_value("stretto_dead_letters_total", {"result": result}) == before + 1
    if result == "written":
        ((topic, value, key, headers),) = producer.sent
        assert (topic, value, key) == ("dead", b"x", b"k")
        assert dict(headers) == {
            "a": b"b",
            "stretto.dead_letter.topic": b"z",
            "stretto.dead_letter.partition": b"0",
            "stretto.dead_letter.offset": b"5",
            "stretto.dead_letter.reason": b"malformed",
            "stretto.dead_letter.error": b"no ? JSON",
        }


def test_a_dead_letter_topic_that_is_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_AGAIN_S", 0.001)
    made = DeadLetters(KafkaClient.plain("127.0.0.1:1"), "dead", 1 << 20, within_s=0.05)
    producer = Producer(*[KafkaConnectionError()] * 1000)

    async def opened() -> Producer:
        return producer

    monkeypatch.setattr(made, "_opened", opened)
    asyncio.run(asyncio.wait_for(made.write([DeadLetter(message("z", b"x"), "malformed", "")]), 5))
    assert not producer.sent
