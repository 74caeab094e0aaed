"""`stretto doctor`: a verdict for everything that can be wrong, from what was measured."""

import argparse
import json
import resource
import threading
import time
from functools import partial

import pytest
from aiokafka.errors import SaslAuthenticationFailed

from agents.stream.kafka_client import KafkaClient
from app.cli.doctor import clock, command, disk, kafka, kafka_groups, limits, ports, storage, versions
from app.cli.doctor.clock import Skew
from app.cli.doctor.diagnosis import Diagnosis, DoctorVerdict, Surroundings, ok, warning, wrong
from app.cli.doctor.disk import Disk
from app.cli.doctor.kafka_facts import ConsumerGroupFacts, groups_of, version_min
from app.cli.doctor.limits import SystemLimits
from app.cli.doctor.ports import Place
from app.cli.main import main
from app.errors import StrettoError
from app.settings import Settings, load
from tables.storage.object_store import ObjectStore, StorageConfig

OK, WARNING, WRONG = DoctorVerdict


pytestmark = pytest.mark.usefixtures("clean_folder")


def settings(tmp_path, text="{}", **environ):
    (tmp_path / "stretto.yaml").write_text(text)
    return load(environ, tmp_path)


def expect(found, verdict, said):
    assert (found.verdict, said in f"{found.text} → {found.advice}") == (verdict, True), found
    assert bool(found.advice) == (verdict is not OK)


GIB = 1 << 30


@pytest.mark.parametrize(
    ("disk_", "subject", "verdict", "said"),
    [
        (Disk(100 * GIB, 200 * GIB, 0.5, 0.002), "space", OK, "100.0 of 200.0 GiB are free"),
        (Disk(2 * GIB, 10 * GIB, 0.5, 0.002), "space", WARNING, "in a long outage"),
        (Disk(15 * GIB, 200 * GIB, 0.5, 0.002), "space", WARNING, "make room"),
        (Disk(GIB // 2, 2 * GIB, 0.5, 0.002), "space", WRONG, "consumption pauses"),
        (Disk(100 * GIB, 200 * GIB, 0.01, 0.002), "inodes", WARNING, "1.0% are free"),
        (Disk(100 * GIB, 200 * GIB, 0.5, 0.002), "fsync", OK, "2.0 ms"),
        (Disk(100 * GIB, 200 * GIB, 0.5, 0.2), "fsync", WARNING, "local SSD"),
        (Disk(100 * GIB, 200 * GIB, 0.5, 3.0), "fsync", WRONG, "too slow to keep up"),
    ],
)
def test_disk(tmp_path, disk_, subject, verdict, said):
    (found,) = [one for one in disk.judged(settings(tmp_path), disk_) if one.subject == subject]
    expect(found, verdict, said)


def test_disk_of_a_folder(tmp_path):
    """One that will be made, and one that cannot be."""
    here = Surroundings(settings(tmp_path), {})
    assert {one.verdict for one in disk.check(here)} <= {OK, WARNING}
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").write_text("a file")
    (found,) = disk.check(here)
    expect(found, WRONG, "set STRETTO_DATA_DIR")


ALL = SystemLimits(65536, 8 * GIB, 4, 32 << 20)
UDP = "distributor: {receivers: {jaeger: {protocols: {thrift_compact: {endpoint: '0.0.0.0:6831'}}}}}"


@pytest.mark.parametrize(
    ("text", "limits_", "subject", "verdict", "said"),
    [
        ("{}", ALL, "open files", OK, "65536"),
        ("{}", SystemLimits(resource.RLIM_INFINITY, 8 * GIB, 4, None), "open files", OK, "as many"),
        ("{}", SystemLimits(4096, 8 * GIB, 4, None), "open files", WARNING, "LimitNOFILE="),
        ("{}", SystemLimits(256, 8 * GIB, 4, None), "open files", WRONG, "too few for RocksDB"),
        ("workers: 1", ALL, "memory", OK, "8.0 GiB for 1 worker"),
        ("workers: 8", ALL, "memory", WARNING, "with full caches and buffers each may take"),
        ("workers: 1", SystemLimits(65536, 256 << 20, 4, None), "memory", WRONG, "too little for one process"),
        ("{}", ALL, "CPUs", OK, "4 may be used"),
        ("{}", SystemLimits(65536, 8 * GIB, 0.5, None), "CPUs", WARNING, "heartbeats may come too late"),
        (UDP, ALL, "UDP buffers", OK, "16777216 bytes"),
        ("{}", SystemLimits(65536, 8 * GIB, 4, 212992), "UDP buffers", OK, "212992 bytes"),
        (UDP, SystemLimits(65536, 8 * GIB, 4, 212992), "UDP buffers", WARNING, "sysctl -w net.core.rmem_max=16777216"),
    ],
)
def test_limits(tmp_path, text, limits_, subject, verdict, said):
    (found,) = [one for one in limits.judged(settings(tmp_path, text), limits_) if one.subject == subject]
    expect(found, verdict, said)


def test_limits_of_one_target(tmp_path):
    """A process needs what its targets need."""
    everything, querier = settings(tmp_path), settings(tmp_path, "target: querier")
    assert limits.files_needed(querier) < limits.files_needed(everything)
    assert limits.memory_needed(querier) < limits.memory_needed(everything)
    assert limits.check(Surroundings(everything, {}))


PLACE = Place("Zipkin", "0.0.0.0", 9411, "distributor.receivers.zipkin.endpoint")
OPTIONAL = Place("Zipkin", "0.0.0.0", 9411, "distributor.receivers.zipkin.endpoint", optional=True)


@pytest.mark.parametrize(
    ("place", "state", "owner", "verdict", "said"),
    [
        (PLACE, "free", "", OK, "free"),
        (PLACE, "taken", "/venv/bin/python -m faust -A app worker", OK, "held by Stretto"),
        (PLACE, "taken", "zipkin.jar", WRONG, "in use by zipkin.jar → stop it, or change distributor.receivers.zipkin"),
        (OPTIONAL, "taken", "zipkin.jar", WARNING, "goes on without this receiver"),
        (PLACE, "taken", "", WARNING, "it may be Stretto"),
        (PLACE, "cannot listen there: no such address", "", WRONG, "an address of this machine"),
    ],
)
def test_ports(place, state, owner, verdict, said):
    (found,) = ports.judged([place], lambda _: state, lambda _: owner)
    expect(found, verdict, said)


def test_ports_of_the_settings(tmp_path):
    """What a process listens on: receivers of distributors; the internal port where it is fixed."""
    names = [one.what for one in ports.places(settings(tmp_path, "target: querier"))]
    assert names == ["query API", "other processes"]
    free = ports.places(settings(tmp_path, "target: querier\nserver: {grpc_listen_port: 0}"))
    assert [one.what for one in free] == ["query API"]
    everything = ports.places(settings(tmp_path))
    assert [one.what for one in everything][:2] == ["query API", "OTLP over gRPC"]
    assert [one.udp for one in everything if one.what.startswith("Jaeger")] == [False, False, True, True, False]


@pytest.mark.parametrize("udp", [False, True])
def test_listening(udp):
    """A port that somebody has is taken, and theirs stays open."""
    import socket

    with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if not udp:
            taken.listen(1)
        place = Place("x", "127.0.0.1", taken.getsockname()[1], "x", udp)
        assert ports.listen(place) == "taken"
    assert ports.listen(place) == "free"
    assert ports.listen(Place("x", "192.0.2.1", 1234, "x", udp)).startswith("cannot listen there")


@pytest.mark.parametrize(("status", "verdict"), [(200, OK), (503, WARNING)])
def test_ready(status, verdict):
    (found,) = ports.judged_ready(status, "partition 3 waits\nand more\n")
    expect(found, verdict, "is ready" if status == 200 else "not ready: partition 3 waits; and more")


PINNED = {"numpy": "2.0", "h2": "4.0"}
EXTRAS = {name: "1" for extra in versions.EXTRAS.values() for name in extra}


@pytest.mark.parametrize(
    ("text", "python", "installed", "embedded", "subject", "verdict", "said"),
    [
        ("{}", (3, 11), PINNED, False, "Python", OK, "3.11"),
        ("{}", (3, 9), PINNED, False, "Python", WRONG, "3.9 (CPython) is too old"),
        ("{}", (3, 11), PINNED, False, "packages", OK, "2 packages"),
        ("{}", (3, 11), {"h2": "4.0"}, False, "packages", WRONG, "not installed: numpy"),
        ("{}", (3, 11), {**PINNED, "h2": "5"}, False, "packages", WARNING, "h2 5 instead of 4.0"),
        ("{}", (3, 11), PINNED, True, "extra standalone", WRONG, "pip install 'stretto[standalone]'"),
        ("{}", (3, 11), {**PINNED, **EXTRAS}, True, "extra standalone", OK, "is installed"),
        ("storage: {iceberg: {enabled: true}}", (3, 11), PINNED, False, "extra iceberg", WRONG, "need pyiceberg"),
        (
            "storage: {trace: {backend: s3, s3: {bucket: b, native_aws_auth_enabled: true}}}",
            (3, 11), PINNED, False, "extra aws", WRONG, "need boto3",
        ),
        ("cache: {caches: [{roles: [bloom], redis: {endpoint: r}}]}", (3, 11), PINNED, False, "extra caches", WRONG,
         "the settings need redis →"),
    ],
)  # fmt: skip
def test_versions(tmp_path, text, python, installed, embedded, subject, verdict, said):
    found = versions.judged(settings(tmp_path, text), python, PINNED, installed, embedded=embedded)
    (one,) = [one for one in found if one.subject == subject]
    expect(one, verdict, said)


def test_versions_of_this_environment(tmp_path):
    """The packages here are those that were tested, or the lock says otherwise."""
    assert "aiokafka" in versions.pins()
    assert "pyiceberg" not in versions.pins()
    assert {one.verdict for one in versions.check(Surroundings(settings(tmp_path), {}))} <= {OK, WARNING}


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "said"),
    [
        (None, OK, "could not be compared"),
        (0.0, OK, "agrees within 0.1 s"),
        (-1.5, OK, "agrees within 1.5 s"),
        (5.0, WARNING, "this clock is 5.0 s ahead"),
        (-5.0, WARNING, "5.0 s behind"),
        (100.0, WRONG, "another time"),
    ],
)
def test_clock(ahead_s, verdict, said):
    expect(clock.judged(Skew("Kafka's clock", ahead_s, 2, 30)), verdict, said)


@pytest.mark.parametrize(("shift_s", "ahead_s"), [(0, 0), (100, 100), (-100, -100)])
def test_clock_of_the_storage(tmp_path, monkeypatch, shift_s, ahead_s):
    """By the time that it gives an object; a clock that is wrong is seen to a second."""
    store, time_s = ObjectStore(StorageConfig("local", str(tmp_path / "blocks"))), time.time
    monkeypatch.setattr("app.cli.doctor.clock.time", argparse.Namespace(time=lambda: time_s() + shift_s))
    assert clock.storage_ahead_s(store) == pytest.approx(ahead_s, abs=2)
    assert list(store.paths("")) == []


def test_storage(tmp_path):
    found = storage.check(Surroundings(settings(tmp_path), {}))
    expect(found[0], OK, "can be written, replaced, read, listed and deleted")
    alone = storage.check(Surroundings(settings(tmp_path, "target: querier"), {}))
    expect(alone[1], WARNING, "is a folder")
    expect(storage.judged("x", Settings(), 9.0)[0], WARNING, "in the same region")
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "nope").write_text("")
    text = f"storage: {{trace: {{local: {{path: {tmp_path}/nope/blocks}}}}}}"
    (bad,) = storage.check(Surroundings(settings(tmp_path, text), {}))
    assert bad.verdict is WRONG


CLIENT = KafkaClient.plain("k:9092")


@pytest.mark.parametrize(
    ("err", "embedded", "verdict", "said"),
    [
        (ConnectionRefusedError(111, "refused"), False, WRONG, "KAFKA_URL or kafka.address is its address"),
        (ConnectionRefusedError(111, "refused"), True, WARNING, "starts its own there"),
        (SaslAuthenticationFailed("no"), False, WRONG, "check kafka.sasl"),
        (TimeoutError(), False, WRONG, "TimeoutError"),
    ],
)
def test_kafka_that_cannot_be_reached(err, embedded, verdict, said):
    expect(kafka.unreachable(CLIENT, err, embedded=embedded), verdict, said)


@pytest.mark.parametrize(
    ("fetch", "version"),
    [((0, 8), ""), ((0, 10), "2.1"), ((0, 12), "2.7"), ((0, 17), "3.9"), ((4, 17), "4.0"), ((4, 99), "4.0")],
)
def test_version_of_kafka(fetch, version):
    assert version_min(fetch) == version


def group(committed, *, begins=(0, 0), ends=(10, 10), late=(10, 10), old=(0, 0), members=1):
    """late, old: the first records that are younger than 60 s and 3,600 s"""
    return ConsumerGroupFacts("spans", begins, committed, ends, {60.0: late, 3600.0: old}, members)


@pytest.mark.parametrize(
    ("facts", "verdict", "said"),
    [
        (group((10, 10)), OK, "all of spans is done"),
        (group((-1, -1), ends=(0, 0)), OK, "all of spans is done"),
        (group((8, 9), late=(8, 5)), OK, "3 records of spans are not done yet, none is more than 60 s old"),
        (group((8, 10), late=(9, 9)), WARNING, "some are more than 60 s old, in partitions 0 → add processes"),
        (group((8, 9), late=(-1, -1), members=0), WARNING, "in partitions 0, 1 → start one"),
        (group((-1, 10)), WARNING, "10 records"),
        (group((2, 10), old=(5, 5)), WRONG, "Kafka deletes them soon"),
        (
            group((2, 10), begins=(4, 0)),
            WRONG,
            "Kafka has deleted records of spans that were not done, in partitions 0",
        ),
        (group((-1, 10), begins=(4, 0), late=(4, 4), old=(4, 4)), OK, "6 records"),
    ],
)
def test_groups(facts, verdict, said):
    expect(kafka_groups.group_judged("g", facts, 60.0, 3600.0), verdict, said)


def test_groups_of_the_settings(tmp_path):
    assert list(groups_of(settings(tmp_path, ZONE="a"))) == ["stretto-live-store-a", "stretto-distributor"]
    text = "metrics_generator: {storage: {remote_write: [{url: 'http://p/w'}]}}"
    assert "stretto-metrics-generator" in groups_of(settings(tmp_path, text))


def checks(**found):
    def fails(err, _):
        raise err

    return {
        name: (lambda _, one=one: one) if isinstance(one, list) else partial(fails, one) for name, one in found.items()
    }


def test_a_check_that_fails_is_a_finding():
    here = Surroundings(Settings(), {})
    made = checks(a=[ok("x", "y")], b=StrettoError("no file"), c=OSError("gone"), d=KeyError("secret"))
    found = command.run_checks(made, here, 10)
    assert [found[name][0].verdict for name in "abcd"] == [OK, WRONG, WRONG, WARNING]
    assert found["b"][0].text == "no file"
    assert "secret" not in found["d"][0].text


def test_a_check_that_hangs():
    """The others are there, and nobody waits for it."""
    stuck = threading.Event()
    made = {"a": lambda _: stuck.wait(60) and [], "b": lambda _: [ok("x", "y")]}
    try:
        found = command.run_checks(made, Surroundings(Settings(), {}), 0.2)
    finally:
        stuck.set()
    expect(found["a"][0], WRONG, "no answer within 0.2 s")
    assert found["b"][0].verdict is OK


def run(monkeypatch, found, *argv):
    monkeypatch.setattr(command, "CHECKS", checks(**found))
    return main(["doctor", *argv])


FOUND = {"disk": [ok("space", "10 GiB"), warning("fsync", "slow", "use an SSD")], "kafka": [ok("brokers", "3")]}


def test_output(monkeypatch, capsys):
    assert run(monkeypatch, FOUND) == 0
    assert capsys.readouterr().out == (
        "settings\n  ok       settings: nothing is wrong\n"
        "disk\n  ok       space: 10 GiB\n  warning  fsync: slow\n           → use an SSD\n"
        "kafka\n  ok       brokers: 3\n"
        "3 ok, 1 warning, 0 wrong\n"
    )
    assert run(monkeypatch, FOUND, "--quiet") == 0
    assert capsys.readouterr().out.startswith("disk\n  warning  fsync")


def test_exit_code_and_json(monkeypatch, capsys):
    found = {**FOUND, "disk": [wrong("space", "none", "make room")]}
    assert run(monkeypatch, found, "--json") == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["summary"] == {"ok": 2, "warning": 0, "wrong": 1}
    assert shown["findings"][1] == {
        "check": "disk", "verdict": "wrong", "subject": "space", "text": "none", "advice": "make room",
    }  # fmt: skip
    assert run(monkeypatch, found, "--only", "kafka") == 0


def test_wrong_settings(tmp_path, monkeypatch, capsys):
    """They are all that is looked at; secrets are not shown."""
    (tmp_path / "stretto.yaml").write_text("storage: {trace: {s3: {secret_key: [hunter2]}}}\nquery: {threads: 0}")
    assert run(monkeypatch, FOUND) == 1
    out = capsys.readouterr().out
    assert "stretto.yaml:2: query.threads" in out
    assert "hunter2" not in out
    assert "disk" not in out


def test_findings_are_plain():
    assert Diagnosis(OK, "a", "b") == ok("a", "b")
