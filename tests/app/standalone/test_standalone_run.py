"""What `stretto run` starts, with which settings, and what it says."""

import asyncio
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from agents.stream.kafka_client import KafkaClient
from app.process import topics
from app.settings import load
from app.standalone import kafka, plan
from app.standalone.errors import StandaloneError
from app.standalone.ports import Listener, free_port
from app.standalone.run import wait_ready
from app.standalone.welcome import find_trace, first_trace, welcome
from app.standalone.worker_count import with_partitions


def make(tmp_path: Path, **environ: str) -> plan.RunPlan:
    env = {"STRETTO_DATA_DIR": str(tmp_path / "data"), **environ}
    return plan.make(load(env, tmp_path), env)


def test_the_default_plan(tmp_path):
    """A Kafka of its own on 9092, the worker with all targets, no demo."""
    chosen = make(tmp_path)
    assert [listener.port for listener in chosen.needed] == [3200, 4317, 4318, 9092]
    assert chosen.kafka.brokers == ("127.0.0.1:9092",)
    assert " ".join(chosen.workers[0].argv[1:]) == "-m faust -A app -L uvloop worker -l info --without-web"
    assert chosen.workers[0].env["TARGET"] == "all"
    assert chosen.workers[0].env["KAFKA_URL"] == "kafka://127.0.0.1:9092"
    assert chosen.workers[0].env["STRETTO_DATA_DIR"] == str(tmp_path / "data")
    assert not chosen.demo_at_once


def test_several_workers(tmp_path):
    """They share the ports that clients know, and have numbers, and addresses of their own for /ready and /metrics."""
    env = {"STRETTO_DATA_DIR": str(tmp_path / "data"), "STRETTO_WORKERS": "6"}
    settings = with_partitions(load(env, tmp_path), 6)
    chosen = plan.make(settings, env, 6)
    assert [one.name for one in chosen.workers] == [f"worker-{number}" for number in range(1, 7)]
    assert {one.log.name for one in chosen.workers} == {"worker.log"}
    assert [listener.port for listener in chosen.needed] == [3200, 4317, 4318, 9092]
    assert len({listener.port for listener in chosen.ready}) == 6
    for number, command in enumerate(chosen.workers, 1):
        own = load(command.env, tmp_path)
        assert (own.worker, own.server.reuse_port, own.kafka.partitions) == (number, True, 6)
        assert own.server.own_address == chosen.ready[number - 1].local
        assert own.server.worker_addresses == tuple(listener.local for listener in chosen.ready)
        assert own.data_dir == tmp_path / "data"
        assert own.own_dir == tmp_path / "data" / (f"workers/{number}" if number > 1 else "")


def test_partitions_for_workers(tmp_path):
    """As many as there are workers, unless the settings say how many."""
    assert with_partitions(load({}, tmp_path), 3).kafka.partitions == 4
    assert with_partitions(load({"STRETTO_KAFKA__PARTITIONS": "2"}, tmp_path), 9).kafka.partitions == 2


def test_other_ports(tmp_path):
    """Two runs on one machine: every port can be another one, and the worker is told Kafka's."""
    chosen = make(
        tmp_path,
        PORT="13200",
        EMBEDDED_KAFKA_PORT="19092",
        STRETTO_DISTRIBUTOR__RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT="127.0.0.1:14317",
        DEMO="1",
    )
    assert [listener.port for listener in chosen.needed] == [13200, 14317, 4318, 19092]
    assert chosen.workers[0].env["KAFKA_URL"] == "kafka://127.0.0.1:19092"
    assert chosen.demo_at_once
    assert chosen.demo.argv[-2:] == ("--to", "127.0.0.1:14317")


def test_a_receiver_that_is_off(tmp_path):
    """Any receiver can be off. The demo needs OTLP over gRPC."""
    off = {"STRETTO_DISTRIBUTOR__RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT": ""}
    chosen = make(tmp_path, **off)
    assert "otlp_grpc" not in chosen.receivers
    assert 4317 not in [listener.port for listener in chosen.needed]
    with pytest.raises(StandaloneError, match="the demo sends OTLP over gRPC"):
        make(tmp_path, DEMO="1", **off)


def test_somebody_elses_kafka(tmp_path):
    """KAFKA_URL: no Kafka of its own, whatever the address is; its port need not be free."""
    chosen = make(tmp_path, KAFKA_URL="kafka://127.0.0.1:9092")
    assert chosen.own_kafka_port is None
    assert [listener.port for listener in chosen.needed] == [3200, 4317, 4318]


def test_somebody_elses_kafka_in_the_file(tmp_path):
    """As KAFKA_URL."""
    (tmp_path / "stretto.yaml").write_text("kafka: {address: [b1:9092, b2:9092]}\n")
    chosen = make(tmp_path)
    assert chosen.own_kafka_port is None
    assert chosen.kafka.brokers == ("b1:9092", "b2:9092")


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "¹"])
def test_a_port_that_is_none(tmp_path, text):
    """Named, with the range."""
    with pytest.raises(StandaloneError, match="EMBEDDED_KAFKA_PORT: expected a port from 1 to 65535"):
        make(tmp_path, EMBEDDED_KAFKA_PORT=text)


def broker(folder: Path, **changes: object) -> kafka.Broker:
    values: dict[str, object] = {
        "folder": folder,
        "log": folder / "k.log",
        "port": 9092,
        "controller_port": 9999,
        "jars": (Path("/c/a.jar"), Path("/c/b.jar")),
        "partitions": 4,
        "max_message_bytes": 8 << 20,
        "retention_s": 60.0,
    }
    return kafka.Broker(**{**values, **changes})  # type: ignore[arg-type]


def test_kafka_listens_on_this_machine_only():
    """Every listener has an address, and it is 127.0.0.1."""
    listeners = kafka.properties(broker(Path("/d")))["listeners"].split(",")
    assert listeners == ["PLAINTEXT://127.0.0.1:9092", "CONTROLLER://127.0.0.1:9999"]


def test_kafkas_sizes_fit_its_integers():
    """The largest max_message_bytes that the settings allow."""
    found = kafka.properties(broker(Path("/d"), max_message_bytes=2**31 - 1))
    sizes = [int(value) for key, value in found.items() if key.endswith(".bytes")]
    assert max(sizes) == 2**31 - 1


@pytest.mark.parametrize(
    ("value", "line"),
    [
        pytest.param("/a/b c", "/a/b c", id="plain"),
        pytest.param("/ä", "/\\u00e4", id="not ASCII"),
        pytest.param("/a\\b", "/a\\\\b", id="backslash"),
        pytest.param("/\U0001f600", "/\\ud83d\\ude00", id="beyond the basic plane"),
    ],
)
def test_a_folder_with_any_name(tmp_path, value, line):
    """As Java reads properties files."""
    where = tmp_path / value[1:]
    kafka.prepare(broker(where))
    text = (where / "server.properties").read_text("ascii")
    assert f"{line[1:]}/log\n" in text


def test_a_comma_is_a_list_for_kafka(tmp_path):
    """Refused before Kafka makes two folders of it."""
    with pytest.raises(StandaloneError, match="comma"):
        kafka.prepare(broker(tmp_path / "a,b"))


def test_each_format_has_its_own_cluster_id(tmp_path):
    """16 random bytes in URL-safe base64, as Kafka wants them."""
    ids = set()
    for _ in range(2):
        argv = kafka.format_command(broker(tmp_path), Path("java"), {}).argv
        ids.update(word.partition("=")[2] for word in argv if word.startswith("--cluster-id="))
    assert len(ids) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", found) for found in ids)


def test_a_folder_is_formatted_once(tmp_path):
    """Kafka's own mark tells."""
    chosen = broker(tmp_path)
    assert not chosen.formatted
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").touch()
    assert chosen.formatted


def test_the_topics(tmp_path):
    """Names, partitions and limits from the settings; `spans` and the members have the broker's time."""
    env = {"STRETTO_KAFKA__PARTITIONS": "3", "STRETTO_KAFKA__RETENTION_S": "7200"}
    spans, otlp, jobs, leader, members = topics.specs(load(env, tmp_path))
    assert (spans.name, spans.partitions, otlp.name, otlp.partitions) == ("spans", 3, "otlp_spans", 3)
    limits = {"cleanup.policy": "delete", "max.message.bytes": str(8 << 20), "retention.ms": "7200000"}
    assert dict(otlp.config) == dict(jobs.config) == limits
    assert (jobs.name, jobs.partitions) == ("compaction_jobs", 3)
    assert (leader.name, leader.partitions) == ("stretto-compactor-__assignor-__leader", 1)
    assert dict(spans.config) == limits | {"message.timestamp.type": "LogAppendTime"}
    assert (members.name, members.partitions) == ("stretto-members", 1)
    assert (dict(members.config)["cleanup.policy"], dict(members.config)["message.timestamp.type"]) == (
        "compact",
        "LogAppendTime",
    )


def test_no_kafka_there():
    """The error names address, topics and variable."""
    port = free_port()
    wanted = [topics.TopicSpec("spans", 1, 1, ())]
    with pytest.raises(topics.TopicError, match=rf"127\.0\.0\.1:{port} has not made .*spans.*KAFKA_URL"):
        asyncio.run(topics.ensure_topics(KafkaClient.plain(f"127.0.0.1:{port}"), wanted, within_s=0.2))


def test_waiting_for_the_worker():
    """503 until it is ready; nothing listens at first."""
    answers = ["503 Service Unavailable", "503 Service Unavailable", "200 OK"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /ready HTTP/1.1\r\n")
        writer.write(f"HTTP/1.1 {answers.pop(0)}\r\nConnection: close\r\n\r\nbody".encode())
        await writer.drain()
        writer.close()

    async def main() -> None:
        port = free_port()
        waiting = asyncio.create_task(wait_ready(Listener("api", "127.0.0.1", port, "PORT"), print))
        await asyncio.sleep(0)
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            await asyncio.wait_for(waiting, 20)

    asyncio.run(main())
    assert answers == []


def shell_arguments(text: str) -> list[str]:
    """What the shell makes of a curl command."""
    script = f'curl() {{ printf "%s\\0" "$@"; }}\n{text}'
    reply = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    return reply.split("\0")[:-1]


def test_the_first_trace_is_valid_otlp():
    """The shell makes JSON of it: ids of the right length, times of now."""
    arguments = shell_arguments(first_trace("127.0.0.1:5"))
    assert "http://127.0.0.1:5/v1/traces" in arguments
    request = json.loads(arguments[arguments.index("-d") + 1])
    (span,) = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(bytes.fromhex(span["traceId"])) == 16
    assert len(bytes.fromhex(span["spanId"])) == 8
    assert abs(int(span["startTimeUnixNano"]) / 1e9 - time.time()) < 60
    assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == 250_000_000


def test_the_query_finds_what_was_sent():
    """The same service in both."""
    arguments = shell_arguments(find_trace("h:1"))
    assert arguments[-1] == 'q={ resource.service.name = "hello" }'
    assert "http://h:1/api/search" in arguments


def test_the_welcome_says_where():
    """Addresses that can be typed, and which of them others reach too."""
    api, grpc, http = (
        Listener("x", "0.0.0.0", 3200, ""),
        Listener("x", "127.0.0.1", 4317, ""),
        Listener("x", "10.0.0.1", 4318, ""),
    )
    text = welcome(api, {"otlp_grpc": grpc, "otlp_http": http}, ["127.0.0.1:9092"], Path("data/logs"))
    assert "http://127.0.0.1:3200 (all addresses)\n" in text
    assert " 127.0.0.1:4317\n" in text
    assert f"{first_trace('10.0.0.1:4318')}\n" in text
    assert f"{find_trace('127.0.0.1:3200')}\n" in text
    assert os.fspath(Path("data/logs")) in text
    assert "Send a first trace" not in welcome(api, {"otlp_grpc": grpc}, ["127.0.0.1:9092"], Path("data/logs"))
